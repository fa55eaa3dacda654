"""A plan by latency budgets: where hardware is to be chosen for so many stages that few choices can be looked at.

Each stage's median time is taken by the formula (``analytic``), as if its events came one by one. The cheapest choices
whose medians fit, way by way, into a share of the objective are simulated; the largest share of which one holds is
sought, and what holds there is searched around. The share makes up for what medians leave out: tails, and events that
come from the stage before a batch at a time. In rows of eight to twelve stages it was 0.4 to 0.6.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, islice
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.analytic import BUSIEST, stage_quantile_s
from guidevane.control.budgets import Choices, Option, usual
from guidevane.control.plant import Setting
from guidevane.control.trial import batch_sizes, hourly_usd, replica_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guidevane.control.budgets import Way
    from guidevane.control.trial import Trial

_TRIED, _EXTENDED = 40, 4_000
"""Choices simulated for each share, the cheapest first, and partial ones extended to find them."""
_FIRST_SHARE, _LEAST_SHARE, _SHARES = 0.5, 0.05, 7
_MORE = (0, 1, 2, 3, 4, 6, 8)
"""Places above the fewest replicas that a stage could have alone."""


def shared(trial: Trial, kinds: Sequence[Sequence[str]], most_runs: int) -> list[tuple[Setting, ...]]:
    """Return feasible configurations, found in about ``most_runs`` simulations, each cheaper than the one before it.

    ``kinds``: the hardware that each stage may use. None of them may be found.
    """
    ends = trial.runs + most_runs
    settings = [list(_settings(trial, at, names)) for at, names in enumerate(kinds)]
    if not all(settings):
        return []
    scv = _scv(trial)
    options = [_worth(trial, at, each, scv) for at, each in enumerate(settings)]
    ways = usual(trial.graph, trial.slo_s, trial.epsilon)
    found: list[tuple[Setting, ...]] = []
    # The largest share of which one holds lies between these.
    low, high, tried = 0.0, 1.0, 0
    share = _FIRST_SHARE
    while share > _LEAST_SHARE and tried < _SHARES and trial.runs < ends:
        most_usd = hourly_usd(trial.graph, found[-1]) if found else math.inf
        better = _cheapest(trial, options, _narrowed(ways, share), most_usd)
        if better is None:
            high = share
        else:
            low, found = share, [*found, better]
        tried += 1
        share = math.sqrt(low * high) if low else high / 2
    return found


def _cheapest(
    trial: Trial, options: Sequence[Sequence[Option]], ways: Sequence[Way], most_usd: float
) -> tuple[Setting, ...] | None:
    """Return the first of the cheapest choices that is feasible."""
    for usd, chosen in islice(Choices(options, ways, most=_EXTENDED), _TRIED):
        if usd >= most_usd - 1e-12:
            return None
        tried = tuple(each.setting for each in chosen)
        if trial.feasible(tried):
            return tried
    return None


def _narrowed(ways: Sequence[Way], share: float) -> list[Way]:
    return [replace(way, left_s=way.left_s * share) for way in ways]


def _settings(trial: Trial, at: int, names: Sequence[str]) -> Iterator[Setting]:
    """Yield what a stage may run on, with the fewest replicas that it could have alone and some more."""
    stage = trial.graph.stages[at]
    sizes = replica_counts(stage)
    for name in names:
        first = sizes.index(trial.least(at, name) or sizes[-1])
        for place in sorted({*(first + more for more in _MORE), first + first // 4, first + first // 2}):
            if place < len(sizes):
                each = (Setting(name, sizes[place], batch) for batch in batch_sizes(stage, name))
                yield from (one for one in each if trial.busy(at, one) <= BUSIEST)


def _worth(trial: Trial, at: int, settings: Sequence[Setting], scv: float) -> list[Option]:
    """Return settings of one stage as options, without those that cost more than a quicker one."""
    stage, rate_per_s = trial.graph.stages[at], trial.rate_per_s * trial.graph.visits[at]
    options = sorted(
        (
            Option(
                each,
                stage.on(each.hardware).price_usd_per_hour * each.replicas,
                stage_quantile_s(stage.on(each.hardware).profile, rate_per_s, scv, each, p=0.5),
            )
            for each in settings
        ),
        key=lambda option: (option.usd_per_hour, option.latency_s),
    )
    before_s = accumulate((each.latency_s for each in options), min, initial=math.inf)
    return [each for each, shortest_s in zip(options, before_s, strict=False) if each.latency_s < shortest_s]


def _scv(trial: Trial) -> float:
    """Return how bursty the planning trace is: the squared coefficient of variation of its gaps."""
    gaps = np.diff(trial.arrivals[0])
    mean = float(gaps.mean()) if gaps.size else 0.0
    return float(gaps.var()) / mean**2 if mean > 0 else 1.0


def descended(
    trial: Trial, settings: tuple[Setting, ...], kinds: Sequence[Sequence[str]], ends: float
) -> tuple[Setting, ...]:
    """Return a feasible configuration of which no stage has an option that costs less, as far as simulations go.

    ``ends``: the trial's runs beyond which no more are made.
    """
    options = [list(_settings(trial, at, names)) for at, names in enumerate(kinds)]
    best: tuple[Setting, ...] | None = settings
    while best is not None and trial.runs < ends:
        settings = best
        best = _cheaper(trial, settings, options, ends) or _cheaper(trial, _eased(trial, settings), options, ends)
    return settings


def _cheaper(
    trial: Trial, settings: tuple[Setting, ...], options: Sequence[Sequence[Setting]], ends: float
) -> tuple[Setting, ...] | None:
    """Return the cheapest feasible configuration that has another option at one stage, if it costs less."""
    usd = hourly_usd(trial.graph, settings)
    others = ((*settings[:at], each, *settings[at + 1 :]) for at, stage in enumerate(options) for each in stage)
    cheaper = [(cost, each) for each in others if (cost := hourly_usd(trial.graph, each)) < usd - 1e-12]
    for _, each in sorted(cheaper, key=lambda pair: pair[0]):
        if trial.runs >= ends:
            break
        if trial.feasible(each):
            return each
    return None


def _eased(trial: Trial, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """Return a feasible configuration of the same replicas with batches that miss less, tried stage by stage."""
    best, least = settings, trial.much(settings)
    for at, stage in enumerate(trial.graph.stages):
        for batch in batch_sizes(stage, settings[at].hardware):
            each = (*best[:at], replace(best[at], batch=batch), *best[at + 1 :])
            if batch != best[at].batch and trial.feasible(each) and (misses := trial.much(each)) < least:
                best, least = each, misses
    return best
