"""What being ready for one rate costs, and what it misses where another comes: what headroom is weighed with."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from guidevane.control.bridging import stretched
from guidevane.control.table import ANCHOR, STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.control.plant import Setting
    from guidevane.control.table import Table

Rates: TypeAlias = npt.NDArray[np.float64]

_LEAST_PER_S, _PLACES, _BELOW = 0.05, 250, 8
_FIRST = math.log(_LEAST_PER_S) / math.log(STEP)
_AROUND = (-6, -4, -2, 0, 2, 4, 6, 8, 12, 16)
"""Where misses are simulated, in steps of the table from the rate that was planned for: 0.63 to 3.4 times as much."""


class Outlook(Protocol):
    """For float64[n] rates that a pipeline is made ready for: what that costs, and what is missed."""

    def usd(self, ready: Rates, /) -> Rates:
        """Return $ per hour, float64[n]."""
        ...

    def missed(self, ready: Rates, come: Rates, /) -> Rates:
        """Return the share (0-1) of the events of each of the rates that ``come`` which misses, float64[n]."""
        ...


class Fluid:
    """A pipeline that bears exactly what it is ready for, at one dollar for each event per second."""

    def usd(self, ready: Rates, /) -> Rates:
        """Return the rates."""
        return ready

    def missed(self, ready: Rates, come: Rates, /) -> Rates:
        """Return the share of a rate above what is ready."""
        return 1 - np.minimum(ready / np.maximum(come, 1e-9), 1.0)


FLUID = Fluid()


def misses(outlook: Outlook, ready: Rates, come_per_s: float) -> Iterator[tuple[float, float]]:
    """Yield each of the rates to be ready for, and the share (0-1) of ``come_per_s`` that misses then.

    Each when it is asked for: who looks for the least that is enough needs no plan for those above.
    """
    come = np.array([come_per_s])
    for each in ready:
        yield float(each), float(outlook.missed(np.array([each]), come)[0])


@dataclass(frozen=True)
class Planned:
    """The rows of a table at one dispersion: their price, and their misses as simulated, also beyond their rate.

    A row that gets more than it was planned for does not lose what is above: it has some capacity left, and
    drops the others before it computes them. Only the table's anchors are planned and simulated: prices lie
    on lines between them, and misses are those of the nearest one, at the same multiple of its rate.
    """

    table: Table
    dispersion: float
    _priced: dict[int, float] = field(default_factory=dict)
    _misses: dict[int, list[float]] = field(default_factory=dict)
    _curves: dict[int, Rates] = field(default_factory=dict)

    def usd(self, ready: Rates, /) -> Rates:
        """Return $ per hour, float64[n]."""
        places, which = self._places(ready)
        low = places - places % ANCHOR
        prices = np.array([[self._price(int(each)), self._price(int(each) + ANCHOR)] for each in low])
        share = (STEP ** (places - low) - 1) / (STEP**ANCHOR - 1)
        return np.asarray((prices[:, 0] + share * (prices[:, 1] - prices[:, 0]))[which])

    def missed(self, ready: Rates, come: Rates, /) -> Rates:
        """Return the share (0-1) of the events of each rate which misses, float64[n]."""
        places, which = self._places(ready)
        anchors = ANCHOR * np.rint(places / ANCHOR).astype(np.int64)
        at = np.log(np.maximum(come, _LEAST_PER_S) / _LEAST_PER_S) / math.log(STEP) - (places - anchors)[which]
        at = np.clip(np.rint(at), 0, _PLACES - 1).astype(np.int64)
        highest = np.zeros(len(places), np.int64)
        np.maximum.at(highest, which, at)
        curves = np.stack([self._curve(int(each), int(until)) for each, until in zip(anchors, highest, strict=True)])
        return np.asarray(curves[which, at])

    def least(self, rate_per_s: float, share: float) -> float:
        """Return the least rate to be ready for such that at most a share (0-1) of ``rate_per_s`` misses.

        The rate itself, where even its own row misses more.
        """
        if rate_per_s <= 0:
            # Nothing that comes, nothing that misses.
            return rate_per_s
        ready = rate_per_s * STEP ** -np.arange(_BELOW, -1, -1.0)
        return next((each for each, missed in misses(self, ready, rate_per_s) if missed <= share), rate_per_s)

    def _places(self, ready: Rates) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the places of the rows that are needed, and for each rate which of them is its own."""
        steps = np.log(np.maximum(ready, _LEAST_PER_S)) / math.log(STEP)
        places, which = np.unique(np.ceil(steps - 1e-9).astype(np.int64), return_inverse=True)
        return places, which

    def _price(self, place: int) -> float:
        if place not in self._priced:
            self._priced[place] = self.table.usd(place, self.dispersion)
        return self._priced[place]

    def _curve(self, place: int, until: int) -> Rates:
        """Return the misses of an anchor's row where 0.05 x STEP^i events per second come, float64[250].

        Up to i = ``until`` at least: higher rates are not simulated before they are asked for.
        """
        known = self._misses.setdefault(place, [])
        needed = min(bisect_left(_AROUND, until + _FIRST - place) + 1, len(_AROUND))
        if len(known) < needed:
            row = self.table.row(STEP**place, self.dispersion)
            known += [self._least(row.settings, place + step) for step in _AROUND[len(known) : needed]]
            rates = np.array([STEP ** (place + step) for step in _AROUND[: len(known)]])
            misses = np.maximum.accumulate(known)
            come = _LEAST_PER_S * STEP ** np.arange(_PLACES)
            curve = np.interp(np.log(come), np.log(rates), misses)
            # Beyond, what is served in time stays what it is.
            beyond = come > rates[-1]
            curve[beyond] = 1 - (1 - misses[-1]) * rates[-1] / come[beyond]
            self._curves[place] = curve
        return self._curves[place]

    def _least(self, settings: tuple[Setting, ...], at: int) -> float:
        """Return the misses at the rate of a place, with the batches of the row or those it would be bridged with."""
        table = self.table
        missed = table.probed(settings, at, self.dispersion)
        if not missed:
            return missed
        other = stretched(table.graph, settings, [each.replicas for each in settings], STEP**at, table.slo_s)
        return missed if other == settings else min(missed, table.probed(other, at, self.dispersion))
