"""A profile as the JSON graph that ``guidevane plan`` and the controller read (:mod:`guidevane.control.reading`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.pipeline import Pipeline
    from guidevane.profiling.measured import Curve, Deployed, Point, Quantile, StageCost

_BEFORE = ("ingest", "preprocess")
_BEHIND = "postprocess"


def document(
    pipeline: Pipeline,
    deployed: Sequence[Deployed],
    stages: Sequence[StageCost],
    *,
    usd_per_hour: Mapping[str, float],
    room_usd_per_hour: float,
    room_startup_s: float,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the graph of a pipeline: a stage for each room's handler and for each deployment.

    Deployments stand between preprocess and postprocess, side by side; a latency is what a replica computes for one
    batch, ``hop_ms`` what a call takes beyond that, at the median. ``measured`` beside each latency table has the
    percentiles with their intervals.
    """
    written: dict[str, Any] = {
        each.name: {
            "latency_ms": {str(size): _ms(seconds) for size, seconds in each.mean_s.items()},
            "hardware": "cpu", "price_usd_per_hour": round(room_usd_per_hour, 6), "startup_s": round(room_startup_s, 1),
        }
        for each in stages
    }  # fmt: skip
    for each in deployed:
        price = usd_per_hour[each.name]
        written[each.name] = {
            "members": list(each.curves[0].members),
            "hardware": {curve.kind: _hardware(curve, price) for curve in each.curves},
            **({"untried": {one.kind: one.why for one in each.untried}} if each.untried else {}),
        }
    around = [each.name for each in stages]
    names = [each.name for each in deployed]
    edges = [["ingest", "preprocess"]] if set(_BEFORE) <= set(around) else []
    edges += [["preprocess", name] for name in names if "preprocess" in around]
    edges += [[name, _BEHIND] for name in names if _BEHIND in around]
    hops = [point.hop_s for each in deployed for point in each.curves[0].points]
    quorum = _quorum(pipeline.ensemble.quorum, [len(each.curves[0].members) for each in deployed])
    return {
        "pipeline": pipeline.name,
        "stages": written,
        "edges": edges,
        "exclusive": [],
        "hop_ms": _ms(float(np.median(hops))) if hops else 0.0,
        "quorum": {_BEHIND: quorum} if _BEHIND in around and quorum < len(names) else {},
        **facts,
    }


def _hardware(curve: Curve, usd_per_hour: float) -> dict[str, Any]:
    return {
        "latency_ms": {str(each.batch): _ms(curve.latency_s(each)) for each in curve.points},
        "jitter": round(curve.jitter, 4),
        "price_usd_per_hour": round(usd_per_hour, 6),
        "startup_s": round(curve.startup_s, 1),
        "measured": {str(each.batch): _point(each) for each in curve.points},
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "calls": point.calls,
        "service_p50_ms": _interval(point.service_p50), "service_p99_ms": _interval(point.service_p99),
        "call_p50_ms": _interval(point.call_p50), "call_p99_ms": _interval(point.call_p99),
    }  # fmt: skip


def _interval(found: Quantile) -> list[float]:
    """Return the quantile, and the ends of its interval."""
    return [_ms(found.at), _ms(found.low), _ms(found.high)]


def _quorum(members: int, sizes: Sequence[int]) -> int:
    """Return how many deployments are a quorum of members, whichever they are: the smallest first.

    >>> _quorum(2, [1, 1, 1]), _quorum(2, [1, 3]), _quorum(1, [3])
    (2, 2, 1)
    """
    together = np.cumsum(sorted(sizes))
    return min(int(np.searchsorted(together, members)) + 1, len(sizes))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
