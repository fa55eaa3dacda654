"""The page for people: one HTML document, made on the server, with nothing to fetch."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guidevane.services.admin.views import Alert, Controller, Percentiles, PipelineState, Seen, Steering

REFRESH_S = 3
_ALERTS_SHOWN = 10
_NOTHING = "-"
_WHOLE_FROM = 100

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; --good: #2a9d6f; --bad: #d1495b; --warm: #d68c1f }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.2rem; font-weight: 600 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
h3 { font-size: .8rem; color: var(--dim); font-weight: 600; margin: 1.2rem 0 .2rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0 }
th { font-weight: 500; color: var(--dim); font-size: .8rem } tr { border-bottom: 1px solid var(--line) }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.tiles { display: flex; flex-wrap: wrap; gap: 2.5rem } .tiles b { display: block; font-size: 1.6rem; font-weight: 500 }
.tiles span, .dim { color: var(--dim) } .good { color: var(--good) } .bad { color: var(--bad) }
.warm { color: var(--warm) } .scroll { overflow-x: auto }
"""


def page(states: Sequence[PipelineState], alerts: Iterable[Alert], controller: Controller, seen: Seen) -> str:
    """Return the document. Every text that came from outside is escaped."""
    body = "".join(map(_pipeline, states)) + _steering(controller) + _alerts(alerts) + _actions(controller)
    trouble = "" if seen.ready else f"<p class=warm>{escape('; '.join(seen.reasons))}</p>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content={REFRESH_S}>"
        "<meta name=viewport content='width=device-width'><title>Guidevane</title>"
        f"<style>{_STYLE}</style><h1>Guidevane</h1>{trouble}{body}"
    )


def _pipeline(state: PipelineState) -> str:
    end = state.end_to_end
    met = None if end is None else end.late_share <= state.slo.budget
    tone = {None: "", True: "good", False: "bad"}[met]
    tiles = [
        _tile(_number(sum(state.decisions_per_s.values())), "decisions/s"),
        _tile(_ms(end, "p50_ms"), "p50"),
        _tile(_ms(end, "p99_ms"), f"p99, objective p{state.slo.p * 100:g} ≤ {state.slo.within_ms:g} ms", tone),
        _tile(_NOTHING if end is None else f"{end.late_share:.2%}", f"late, budget {state.slo.budget:.2%}", tone),
        _tile(_number(state.dead_letters_per_s), "dead letters/s", "bad" if state.dead_letters_per_s else ""),
    ]
    stages = [
        [
            each.stage,
            *map(_number, (each.per_s.get("out", 0.0), each.per_s.get("reject", 0.0))),
            *_both(each.duration),
            _ms(each.age, "p99_ms"),
        ]
        for each in state.stages
    ]
    members = [
        [
            f"{each.name} {', '.join(each.versions)}",
            *map(_number, (each.replicas, each.rows_per_s, each.failures_per_s)),
            *_both(each.duration),
        ]
        for each in state.members
    ]
    silent = [f"{each.room}/{each.instance} ({each.heard_s:.0f} s)" for each in state.rooms if each.silent]
    heard = f"<p class=warm>Not heard of: {escape(', '.join(silent))}</p>" if silent else ""
    return (
        f"<h2>{escape(state.name)}</h2><div class=tiles>{''.join(tiles)}</div>{heard}"
        + _table("Stages", ["stage", "out/s", "rejected/s", "p50", "p99", "age p99"], stages)
        + _table("Members", ["member", "replicas", "rows/s", "failures/s", "p50", "p99"], members)
    )


def _steering(controller: Controller) -> str:
    rows = [
        [each.pipeline, _doing(each), _age(each.heard_s), f"{each.reason} ({each.actor})" if each.actor else _NOTHING]
        for each in controller.pipelines
    ]
    return _table("Controller", ["pipeline", "state", "heard", "because"], rows, numbers=False)


def _alerts(alerts: Iterable[Alert]) -> str:
    last = sorted(alerts, key=lambda each: each.event_time_us)[-_ALERTS_SHOWN:][::-1]
    rows = [[moment(each.event_time_us), each.pipeline, each.kind, each.signal, each.message] for each in last]
    return _table("Alerts", ["event time", "pipeline", "kind", "signal", "message"], rows, numbers=False)


def _actions(controller: Controller) -> str:
    rows = [[moment(each.at_us), each.actor, each.action, each.object, each.reason] for each in controller.actions]
    return _table("Actions", ["at", "by", "action", "on", "because"], rows, numbers=False)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    if not rows:
        return f"<h3>{title}</h3><p class=dim>none yet</p>"

    def line(cells: Sequence[str], tag: str) -> str:
        number = " class=n" if numbers else ""
        shown = (f"<{tag}{number if at else ''}>{escape(cell)}</{tag}>" for at, cell in enumerate(cells))
        return f"<tr>{''.join(shown)}</tr>"

    body = line(heads, "th") + "".join(line(row, "td") for row in rows)
    return f"<h3>{title}</h3><div class=scroll><table>{body}</table></div>"


def _tile(value: str, says: str, tone: str = "") -> str:
    return f"<div><b class='{tone}'>{escape(value)}</b><span>{escape(says)}</span></div>"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.3g}"


def _ms(percentiles: Percentiles | None, name: str) -> str:
    return _NOTHING if percentiles is None else f"{_number(getattr(percentiles, name))} ms"


def _both(percentiles: Percentiles | None) -> list[str]:
    return [_ms(percentiles, "p50_ms"), _ms(percentiles, "p99_ms")]


def _doing(steering: Steering) -> str:
    if steering.paused:
        return "paused"
    return _NOTHING if steering.heard_s is None else "steering"


def _age(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds:.0f} s ago"


def moment(at_us: int) -> str:
    """Return a wire time for people; one that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(at_us)
