"""Lines over a logarithmic axis, as SVG: latency against batch size, cost against objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 760, 420, 70, 40, 50, 170
_COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#495057", "#1864ab", "#a61e4d")
_STYLE = "text{font:12px sans-serif;fill:#212529}.title{font-size:14px;font-weight:600}.grid{stroke:#dee2e6}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One line: (x, y, low, high) of each point, all above 0; ``low`` to ``high`` is drawn as a bar."""

    name: str
    points: Sequence[tuple[float, float, float, float]]
    dashed: bool = False


def draw(title: str, x_says: str, y_says: str, lines: Sequence[Drawn]) -> str:
    """Return an SVG with both axes logarithmic. Lines without points are named only."""
    points = [point for line in lines for point in line.points]
    x_axis = _Axis.over([point[0] for point in points], _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis.over([value for point in points for value in point[1:]], _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>']
    for x in x_axis.ticks:
        at = x_axis(x)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    for y in y_axis.ticks:
        at = y_axis(y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
    middle = (_WIDTH - _RIGHT + _LEFT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x_says)}</text>')
    parts.append(f'<text x="16" y="{_TOP - 8}">{escape(y_says)}</text>')
    for index, line in enumerate(lines):
        colour = _COLOURS[index // 2 % len(_COLOURS)]
        path = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y, _, _ in line.points)
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        for x, _, low, high in line.points:
            at = x_axis(x)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y_axis(low):.1f}" y2="{y_axis(high):.1f}" '
                f'stroke="{colour}" stroke-width="3" opacity="0.35"/>'
            )
        parts.append(
            f'<text x="{_WIDTH - _RIGHT + 12}" y="{_TOP + 14 + 18 * index}" style="fill:{colour}">'
            f"{'┄' if line.dashed else '─'} {escape(line.name)}</text>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values, default=1.0), max(values, default=10.0)
        return cls(low, high if high > low else low * 2, start, end)

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Powers of two where they are few, else 1, 2 and 5 of each decade."""
        twos = [2.0**n for n in range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)]
        if len(twos) <= 10:  # noqa: PLR2004 - labels that do not touch
            return twos
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        tens = [m * 10.0**n for n in range(first, last + 1) for m in (1, 2, 5)]
        return [each for each in tens if self.low <= each <= self.high]
