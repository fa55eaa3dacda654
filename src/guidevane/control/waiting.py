"""How long each room's fetches wait for company, and the patience with which a setting is changed."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from guidevane.control.actions import Set
from guidevane.control.observation import HOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.observation import Observation, StageSeen

FETCH_WAIT: Final = "fetch_wait_s"
FETCH_WAITS_S: Final = (0.002, 0.003, 0.005, 0.008, 0.012, 0.020, 0.030, 0.040, 0.050)
_ENOUGH: Final = 20
"""Outputs in the window that a percentile must rest on to be steered by."""


def median_wait_s(wait_s: float, rate_per_s: float | None) -> float:
    """Return how long the median event waits in fetches that take ``wait_s`` from their first record on.

    The first of a fetch waits for all of it, those that come meanwhile for what is left: half of it in the median
    where there are many, all of it where a fetch seldom brings two.

    >>> [round(median_wait_s(0.05, rate), 4) for rate in (500.0, 40.0, 10.0, None)]
    [0.026, 0.0375, 0.05, 0.05]
    """
    return min(wait_s, wait_s / 2 + 1 / (2 * rate_per_s)) if rate_per_s else wait_s


@dataclass(frozen=True, slots=True)
class Intent:
    """A change in waiting: to which value, wanted since when without a break."""

    value: float
    since_us: int


@dataclass(frozen=True, slots=True)
class Intents:
    """The changes in waiting, by what they would change."""

    of: Mapping[str, Intent] = field(default_factory=lambda: MappingProxyType({}))

    def wanting(self, what: str, intent: Intent | None) -> Intents:
        """Return the same with one intent changed, or forgotten."""
        others = {key: value for key, value in self.of.items() if key != what}
        return Intents(MappingProxyType(others if intent is None else {**others, what: intent}))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a change must be wanted, without a break, before it is made: up and down apart.

    Up, the least that was wanted all along is done; down, the most: who wavers moves little.
    """

    up_s: float
    down_s: float

    def decide(
        self, what: str, now: float, wanted: float, at_us: int, intents: Intents
    ) -> tuple[float | None, Intents]:
        """Return the value to change to, or ``None``; and what to remember."""
        if wanted == now:
            return None, intents.wanting(what, None)
        before = intents.of.get(what)
        rising = wanted > now
        if before is None or before.value == now or (before.value > now) != rising:
            before = Intent(wanted, at_us)
        milder = min(before.value, wanted) if rising else max(before.value, wanted)
        if at_us - before.since_us >= (self.up_s if rising else self.down_s) * 1e6:
            return milder, intents.wanting(what, None)
        return None, intents.wanting(what, Intent(milder, before.since_us))


def wish(
    stage: StageSeen, name: str, value: float, reason: str, patience: Patience, at_us: int, intents: Intents
) -> tuple[list[Set], Intents]:
    """Return the ``Set`` of one setting of a stage's room, once it was wanted for long enough; and what to remember."""
    key = f"{stage.name}.{name}"
    # What a person has set stays as it is until that person takes it back.
    if stage.settings_by:
        return [], intents.wanting(key, None)
    before = stage.settings.get(name)
    if before is None:
        return [Set(stage.name, name, value, None, reason)], intents.wanting(key, None)
    decided, intents = patience.decide(key, before, value, at_us, intents)
    return ([] if decided is None else [Set(stage.name, name, decided, before, reason)]), intents


@dataclass(frozen=True, slots=True)
class FetchWaits:
    """How long each fetch waits for company: as long as the objective allows, for waiting saves CPU.

    Events come one by one only to the first room that fetches: its wait is what the way takes longer, and what the
    others read has come together there (``Fetch.formed``). It may use half of what is left of ``share`` of the
    objective after what the way took without it. A longer wait must fit with ``margin`` to spare, so that noise
    moves nothing. Past the objective there is no patience, but no wait falls below ``least`` of the objective: a
    way that is late for want of CPU is later still with a flight for every few events. Where it would be late without
    any wait, CPU is what it wants, and the wait is ``starved`` of the objective until it is late no more.
    """

    within_s: float
    share: float = 0.6
    margin: float = 0.2
    least: float = 0.17
    starved: float = 0.25
    # As long as the window that is looked at: before that, its percentiles still speak of the old wait.
    patience: Patience = Patience(up_s=10.0, down_s=10.0)

    def __call__(self, seen: Observation, intents: Intents) -> tuple[list[Set], Intents]:
        """Return a ``Set`` for each room whose wait shall change, and what to remember."""
        last = seen.stage(HOT[-1])
        if last is None or last.age_p99_s is None or last.records < _ENOUGH:
            return [], intents
        hops = [each for each in seen.stages if each.fetches]
        waited_s = hops[0].settings.get(FETCH_WAIT, 0.0) if hops else 0.0
        spare_s = self.share * self.within_s - max(last.age_p99_s - waited_s, 0.0)
        fits_s, fits_well_s = (self.wait_s(part * spare_s) for part in (1, 1 - self.margin))
        late, longest_s = last.age_p99_s > self.within_s, _at_most(self.starved * self.within_s)
        if late and (last.age_p99_s - waited_s > self.within_s or waited_s == longest_s):
            fits_s = fits_well_s = longest_s
        patience = Patience(self.patience.up_s, 0.0) if late else self.patience
        reason = f"p99 age {last.age_p99_s * 1e3:.0f} ms of {self.within_s * 1e3:.0f}"
        found: list[Set] = []
        for each in hops:
            wait_s = min(fits_s, max(fits_well_s, each.settings.get(FETCH_WAIT, 0.0)))
            more, intents = wish(each, FETCH_WAIT, wait_s, reason, patience, seen.at_us, intents)
            found += more
        return found, intents

    def wait_s(self, spare_s: float) -> float:
        """Return the wait where ``spare_s`` are left; never less for more.

        >>> waits = FetchWaits(within_s=0.2)
        >>> waits.wait_s(0.07), waits.wait_s(-0.3), waits.wait_s(9.0)
        (0.03, 0.03, 0.05)
        """
        return _at_most(max(spare_s / 2, self.least * self.within_s))


def _at_most(wait_s: float) -> float:
    return FETCH_WAITS_S[max(bisect_right(FETCH_WAITS_S, wait_s) - 1, 0)]
