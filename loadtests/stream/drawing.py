"""The plot: two rows of bars as SVG, drawn from the same summary as the table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from loadtests.stream.field import FIELD
from loadtests.stream.report import median, sustained_per_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _LABEL, _BAR, _GAP, _TITLE = 860, 130, 16, 6, 34
_OURS, _FLOOR, _PEER = "#0b7285", "#868e96", "#e8590c"


def draw(measured: Mapping[str, Mapping[str, list[Any]]], caption: str) -> str:
    """Return an SVG: events per CPU-second, events per second sustained, p99 at 500/s."""
    names = [each.name for each in FIELD if each.name in measured and each.decides]
    panels = [
        ("events per CPU-second, draining", {n: _of(measured[n], "drain", "events_per_cpu_s") for n in names}),
        ("events per second, sustained in an open loop", {n: sustained_per_s(measured[n]) for n in names}),
        ("p99 at 500/s, milliseconds (shorter is better)", {n: _p99(measured[n]) for n in names}),
    ]
    parts: list[str] = []
    top = 10
    for title, values in panels:
        drawn, height = _panel(title, values, top)
        parts += drawn
        top += height
    parts.append(f'<text x="10" y="{top + 14}" class="small">{escape(caption)}</text>')
    style = "text{font:13px sans-serif;fill:#212529}.title{font-weight:600}.small{font-size:11px;fill:#495057}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 26}" role="img">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _panel(title: str, values: Mapping[str, float | None], top: int) -> tuple[Sequence[str], int]:
    known = [value for value in values.values() if value is not None]
    longest = max(known, default=1.0)
    parts = [f'<text x="10" y="{top + 18}" class="title">{escape(title)}</text>']
    y = top + _TITLE
    for name, value in values.items():
        width = 0 if value is None else (_WIDTH - _LABEL - 90) * value / longest
        said = "not reached" if value is None else f"{value:,.0f}"
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{width:.0f}" height="{_BAR}" fill="{_colour(name)}"/>',
            f'<text x="{_LABEL + width + 6:.0f}" y="{y + 13}">{said}</text>',
        ]
        y += _BAR + _GAP
    return parts, y - top + 10


def _colour(name: str) -> str:
    if name in {"fused", "topics"}:
        return _OURS
    return _FLOOR if name.startswith("bare") else _PEER


def _of(parts: Mapping[str, list[Any]], part: str, name: str) -> float | None:
    return median(parts.get(part, []), name)


def _p99(parts: Mapping[str, list[Any]]) -> float | None:
    fixed = parts.get("fixed", [])
    # Who could not keep up has no latency at this rate, only a queue.
    return median([each["latency_ms"] for each in fixed], "p99") if fixed and fixed[-1]["bounded"] else None
