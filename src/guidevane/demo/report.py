"""The report: one JSON object, and whether the run kept its promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guidevane.ledger import percentiles

if TYPE_CHECKING:
    from guidevane.demo.watch import Watch
    from guidevane.ledger import Ledger
    from guidevane.slo import Latency

_ACTS = ("set", "scale")
HOT = ("ingest", "preprocess", "inference", "postprocess")


_SURGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Surge:
    """The rate tripled at ``at_us``, ``at_s`` after the begin, from ``from_per_s``."""

    at_us: int
    at_s: float
    from_per_s: float


def report(
    ledger: Ledger,
    watch: Watch,
    slo: Latency,
    *,
    seconds: float,
    rooms: str,
    facts: dict[str, Any],
    steered: bool = True,
    surge: Surge | None = None,
) -> dict[str, Any]:
    """Return what happened.

    ``late`` counts decisions beyond the objective; lost, dead and shed events miss it as well. ``controller`` has
    ``tripled`` where there was a surge: what became of the events of the minute after it.
    """
    late = ledger.late(slo.within_ms)
    events = len(ledger.entries)
    accuracy = ledger.accuracy()
    misses, _ = ledger.missed(slo.within_ms)
    return {
        "events": events,
        "decisions": ledger.decisions,
        "dead_letters": ledger.dead_letters,
        "late": late,
        "lost": ledger.lost,
        "duplicated": ledger.duplicated,
        "conflicting": ledger.conflicting,
        "rate_per_s": round(ledger.rate_per_s(), 1),
        "latency_ms": percentiles(ledger.latencies_ms()),
        "timeline_ms": ledger.timeline(),
        "stages": {stage: {f"{q}_ms": ms for q, ms in watch.stage_ms(stage).items()} for stage in HOT},
        "accuracy": None if accuracy is None else round(accuracy, 4),
        "outcomes": ledger.outcomes(),
        "slo": {
            "within_ms": slo.within_ms,
            "target": round(1 - slo.allowed, 6),
            "attained": round(1 - misses / events, 6) if events else None,
            "met": bool(events) and slo.met(misses, events),
        },
        "controller": {
            "on": steered,
            "actions": sum(n for action, n in watch.action_counts.items() if action in _ACTS),
            "by_action": watch.action_counts,
            "settings": watch.settings,
            "replicas": watch.replicas,
            "tripled": None if surge is None else _tripled(ledger, watch, slo, surge, seconds),
        },
        "alerts": sum(watch.alert_counts.values()),
        "alerts_by_kind": watch.alert_counts,
        "labels_joined": watch.outcomes_joined,
        "seconds": seconds,
        "rooms": rooms,
        **facts,
    }


def _tripled(ledger: Ledger, watch: Watch, slo: Latency, surge: Surge, seconds: float) -> dict[str, Any]:
    span_s = min(_SURGE_S, seconds - surge.at_s)
    until_us = surge.at_us + int(_SURGE_S * 1e6)
    missed, events = ledger.missed(slo.within_ms, since_us=surge.at_us, until_us=until_us)
    acts = [row for row in watch.actions if surge.at_us <= row["at_us"] < until_us and row["action"] in _ACTS]
    return {
        "at_s": surge.at_s,
        "span_s": span_s,
        "from_per_s": surge.from_per_s,
        "to_per_s": 3 * surge.from_per_s,
        "events": events,
        "missed": missed,
        "missed_share": round(missed / events, 6) if events else None,
        "latency_ms": percentiles(ledger.latencies_ms(since_us=surge.at_us, until_us=until_us)),
        "acts": [
            {
                "after_s": round((row["at_us"] - surge.at_us) / 1e6, 1), "action": row["action"],
                "on": row["object"], "reason": row["reason"],
            }
            for row in acts
        ],
    }  # fmt: skip


def whole(made: dict[str, Any]) -> bool:
    """Tell whether the ledger is whole: nothing lost, nothing twice, nothing that contradicts itself."""
    return bool(made["events"]) and not (made["lost"] or made["duplicated"] or made["conflicting"])


def verdict(made: dict[str, Any]) -> str:
    """Say in one sentence what came of it."""
    if not made["events"]:
        return "no event was sent: see the log files of the rooms"
    if not whole(made):
        what = ", ".join(f"{name} {made[name]}" for name in ("lost", "duplicated", "conflicting"))
        return f"the ledger is NOT whole: {what}"
    slo = made["slo"]
    share = f"{100 * slo['attained']:.2f} % within {slo['within_ms']:.0f} ms, {100 * slo['target']:.2f} % promised"
    told = f"every event answered once; the objective was {'met' if slo['met'] else 'MISSED'}: {share}"
    tripled = made["controller"]["tripled"]
    if tripled is None:
        return told
    by = "with the controller" if made["controller"]["on"] else "without a controller"
    span = f"the {tripled['span_s']:g} s after the rate tripled"
    counts = f"of the {tripled['events']} events of {span}, {tripled['missed']} missed it"
    return f"{told}; {by}, {counts}"
