"""The report: one JSON object, and whether the run kept its promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guidevane.ledger import percentiles

if TYPE_CHECKING:
    from guidevane.demo.watch import Watch
    from guidevane.ledger import Ledger
    from guidevane.slo import Latency

HOT = ("ingest", "preprocess", "inference", "postprocess")


def report(
    ledger: Ledger, watch: Watch, slo: Latency, *, seconds: float, rooms: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return what happened.

    ``late`` counts decisions beyond the objective; events that were shed, lost or dead-lettered miss it as well.
    """
    late = ledger.late(slo.within_ms)
    events = len(ledger.entries)
    accuracy = ledger.accuracy()
    misses = late + ledger.shed(slo.within_ms) + ledger.lost + ledger.dead_letters
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
            "actions": sum(n for action, n in watch.action_counts.items() if action != "hold"),
            "by_action": watch.action_counts,
            "settings": watch.settings,
        },
        "alerts": sum(watch.alert_counts.values()),
        "alerts_by_kind": watch.alert_counts,
        "labels_joined": watch.outcomes_joined,
        "seconds": seconds,
        "rooms": rooms,
        **facts,
    }


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
    return f"every event answered once; the objective was {'met' if slo['met'] else 'MISSED'}: {share}"
