"""Plans for every rate and burstiness, made when first asked for: what the tuner looks up each second."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guidevane.control.planner import Infeasible, quick_plan
from guidevane.control.trial import Demand, Trial, hourly_usd

if TYPE_CHECKING:
    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting

STEP = 1.05
"""From one rate of the table to the next."""

CLASSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""The dispersions that are planned for (squared coefficients of variation)."""

_EVENTS = 4000
_LEAST_EPSILON = 2e-4
_SMOOTH = 2


@dataclass(frozen=True, slots=True)
class Row:
    """What to run for one rate and dispersion. ``feasible`` is False where nothing is, and this is the least bad."""

    rate_per_s: float
    scv: float
    settings: tuple[Setting, ...]
    usd_per_hour: float
    feasible: bool = True


class Table:
    """Plans of one graph on one choice of hardware, never cheaper for a higher rate.

    A row is a function of the graph, the objective and its place alone, not of what was asked before.
    """

    def __init__(
        self, graph: Graph, slo_s: float, epsilon: float, hardware: tuple[str, ...] | None = None, *, drop: bool = True
    ) -> None:
        """Start empty. ``hardware``: per stage; None: the cheapest for each row."""
        self.graph, self.slo_s, self.epsilon, self.hardware, self.drop = graph, slo_s, epsilon, hardware, drop
        self._planned: dict[tuple[int, int], Row] = {}
        self._missed: dict[tuple[tuple[Setting, ...], int, int], float] = {}
        self._trials: dict[tuple[int, int], Trial] = {}

    def row(self, rate_per_s: float, dispersion: float) -> Row:
        """Return the cheapest row for this rate or a somewhat higher one, at this dispersion's class."""
        at, kind = place(rate_per_s), class_of(dispersion)
        return min((self._row(each, kind) for each in range(at, at + _SMOOTH + 1)), key=lambda row: row.usd_per_hour)

    def miss(self, settings: tuple[Setting, ...], rate_per_s: float, dispersion: float) -> float:
        """Return the share of events that would miss under other settings, as simulated."""
        key = (settings, place(rate_per_s), class_of(dispersion))
        if key not in self._missed:
            self._missed[key] = self._trial(*key[1:]).miss(settings)
        return self._missed[key]

    def _trial(self, at: int, kind: int) -> Trial:
        key = (at, kind)
        if key not in self._trials:
            if len(self._trials) > 8:  # noqa: PLR2004 - traces and what was simulated on them take memory
                self._trials.pop(next(iter(self._trials)))
            # A share that small needs a longer trace to be told from nothing.
            epsilon = max(self.epsilon, _LEAST_EPSILON)
            events = max(_EVENTS, int(4 / epsilon))
            demand = Demand(STEP**at, CLASSES[kind], events=events, seeds=(1, 2))
            self._trials[key] = Trial(
                self.graph, self.slo_s, epsilon, demand.traces(), rate_per_s=STEP**at, drop=self.drop
            )
        return self._trials[key]

    def _row(self, at: int, kind: int) -> Row:
        key = (at, kind)
        if key not in self._planned:
            rate, scv = STEP**at, CLASSES[kind]
            trial = self._trial(at, kind)
            try:
                settings = quick_plan(trial, self.hardware)
                row = Row(rate, scv, settings, hourly_usd(self.graph, settings))
            except Infeasible:
                settings = trial.bearing(self.hardware)
                row = Row(rate, scv, settings, hourly_usd(self.graph, settings), feasible=False)
            self._planned[key] = row
        return self._planned[key]


def place(rate_per_s: float) -> int:
    """Return the place of the first rate of the table that is not below ``rate_per_s``."""
    return math.ceil(math.log(max(rate_per_s, 0.05)) / math.log(STEP) - 1e-9)


def class_of(dispersion: float) -> int:
    """Return the class that a measured dispersion belongs to: the first not below it by more than its noise."""
    return next((at for at, scv in enumerate(CLASSES) if scv >= dispersion / 1.4), len(CLASSES) - 1)
