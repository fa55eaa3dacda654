"""Every plan that the tuner may look up, by how slow live batches are and by hardware; made when first asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from guidevane.control.hardware import Choice
from guidevane.control.outlook import Planned
from guidevane.control.table import ANCHOR, STEP, Table, class_of, place

if TYPE_CHECKING:
    from guidevane.control.belief import Memory
    from guidevane.control.graph import Graph
    from guidevane.control.hardware import Kinds
    from guidevane.control.profile import Correction
    from guidevane.control.table import Row


class Plans:
    """Tables of one graph and objective; they are functions of both, and no memory."""

    def __init__(self, graph: Graph, slo_s: float, epsilon: float, most: float | None = None) -> None:
        """Start empty. ``epsilon``: the share that a row may miss; ``most``: at the very most (``Table``)."""
        self.graph, self.slo_s, self.epsilon, self.most = graph, slo_s, epsilon, most
        self._tables: dict[tuple[object, ...], Table] = {}
        self._outlooks: dict[tuple[object, ...], Planned] = {}

    def table(self, memory: Memory, kinds: Kinds | None = None) -> Table:
        """Return the table for the profiles as live batches have them, on the hardware in force or on another."""
        return self._planned(_quantized(memory.corrections), kinds or _in_force(memory))

    def outlook(self, memory: Memory) -> Planned:
        """Return what the table says of price and misses, at the dispersion that is planned for."""
        table = self.table(memory)
        key = (id(table), class_of(memory.dispersion))
        if key not in self._outlooks:
            self._outlooks[key] = Planned(table, memory.dispersion)
        return self._outlooks[key]

    def opening(self, memory: Memory, rate_per_s: float) -> Choice:
        """Return the hardware per stage that is cheapest over about half to twice a rate."""
        if all(len(stage.hardware) == 1 for stage in self.graph.stages):
            # Nothing to choose: to weigh one kind against none took most of a first plan.
            return Choice(tuple(stage.hardware[0].name for stage in self.graph.stages))
        rates = [rate_per_s * factor for factor in (0.6, 1.0, 1.6)]

        def usd(kinds: Kinds) -> float:
            return sum(self.table(memory, kinds).row(rate, memory.dispersion).usd_per_hour for rate in rates)

        return Choice(min(self._candidates(memory, rate_per_s), key=usd))

    def chosen(self, memory: Memory, target: float, passed_s: float, startup_s: float) -> Choice:
        """Return the hardware from now on; rates are taken in steps of a third."""
        choice = memory.choice or Choice(_in_force(memory))
        if all(len(stage.hardware) == 1 for stage in self.graph.stages):
            return choice
        rate = STEP ** (ANCHOR * math.ceil(place(target) / ANCHOR))

        def row(kinds: Kinds) -> Row:
            table = self.table(memory, kinds)
            high, low = (table.row(each, memory.dispersion) for each in (rate, rate / STEP**ANCHOR))
            # The price of a rate lies between those of the anchors around it: a third more than needed is no regret.
            share = min(max((target / rate * STEP**ANCHOR - 1) / (STEP**ANCHOR - 1), 0.0), 1.0)
            usd = low.usd_per_hour + share * (high.usd_per_hour - low.usd_per_hour)
            return replace(high, usd_per_hour=usd) if high.feasible and low.feasible else high

        best = min(
            dict.fromkeys((choice.kinds, *self._candidates(memory, rate))),
            key=lambda kinds: (not row(kinds).feasible, row(kinds).usd_per_hour),
        )
        if best == choice.kinds and not choice.regrets:
            return choice
        return choice.after(row, best, passed_s, startup_s=startup_s)

    def _candidates(self, memory: Memory, rate_per_s: float) -> tuple[Kinds, ...]:
        """Return the hardware of the cheapest plans for two rates around one, 1.85 times apart: they take a while."""
        free = self._planned(_quantized(memory.corrections), None)
        low = place(rate_per_s) // _APART * _APART
        rows = (free.row(STEP**at, _USUAL) for at in (low, low + _APART))
        return tuple(dict.fromkeys(tuple(each.hardware for each in row.settings) for row in rows))

    def _planned(self, scales: tuple[int, ...], kinds: Kinds | None) -> Table:
        if (scales, kinds) not in self._tables:
            graph = _slowed(self.graph, scales) if any(scales) else self.graph
            self._tables[scales, kinds] = Table(graph, self.slo_s, self.epsilon, kinds, most=self.most)
        return self._tables[scales, kinds]


def _in_force(memory: Memory) -> Kinds:
    return memory.choice.kinds if memory.choice else ()


_APART, _USUAL = 8, 2.0
"""Places of the table from one plan on any hardware to the next, and the dispersion that they are made for."""
_SLOWER, _KNOWN = 1.07, 30
"""Service times are planned with in steps of 7 %, once thirty batches are known."""


def _quantized(corrections: tuple[Correction, ...]) -> tuple[int, ...]:
    """Return, by stage, how many steps live batches are slower (or faster) than the profile."""
    return tuple(int(math.log(each.ratio) / math.log(_SLOWER)) if each.weight >= _KNOWN else 0 for each in corrections)


def _slowed(graph: Graph, steps: tuple[int, ...]) -> Graph:
    stages = tuple(
        replace(stage, hardware=tuple(replace(hw, profile=hw.profile.scaled(_SLOWER**step)) for hw in stage.hardware))
        for stage, step in zip(graph.stages, steps, strict=True)
    )
    return replace(graph, stages=stages)
