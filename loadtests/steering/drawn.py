"""Cases drawn by a number: any graph, any latencies, any traffic. The tuner is judged by all of them at once.

Numbers below :data:`HELD_OUT` are for whoever changes the controller; the others are looked at when that is done.
Nothing in them is measured: what is real is in ``unseen``. They stand for what nobody has shown yet.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.reading import read_graph
from loadtests.steering import workloads
from loadtests.steering.case import Case

if TYPE_CHECKING:
    from loadtests.steering.plant.columns import Floats

HELD_OUT, MANY = 100, 24
"""From which number on, and how many of each half are played."""
MINUTES = (5, 6, 7, 8, 10, 10, 12, 15, 15, 20, 30, 60)
RATES = (15.0, 120.0)
_SIZES = (1, 2, 4, 8, 16, 32)
_SCVS = (1.0, 1.0, 1.0, 2.0, 4.0, 8.0)
_JUMPS = (1.3, 3.2)


def table_ms(rng: np.random.Generator, quickness: float = 1.0) -> dict[str, float]:
    """Return latency by batch size: a fixed part, and one by size that may grow a little less than the batch."""
    single = float(np.exp(rng.uniform(np.log(3.0), np.log(60.0)))) / quickness
    fixed, power = float(rng.uniform(0.1, 0.85)), float(rng.uniform(0.85, 1.0))
    most = int(rng.choice((4, 8, 16, 32)))
    return {str(size): round(single * (fixed + (1 - fixed) * size**power), 2) for size in _SIZES if size <= most}


def stage(rng: np.random.Generator, startup_s: float | None) -> dict[str, Any]:
    """Return a stage as a graph file writes it, on one to three kinds of hardware."""
    price = float(np.exp(rng.uniform(np.log(0.06), np.log(2.5))))
    kinds: dict[str, Any] = {}
    table = table_ms(rng)
    for at in range(int(rng.choice((1, 1, 2, 3)))):
        quicker = float(rng.uniform(1.5, 4.0)) ** at
        kinds[f"kind{at}"] = {
            "latency_ms": {size: round(ms / quicker, 2) for size, ms in table.items()},
            "price_usd_per_hour": round(price * quicker ** float(rng.uniform(0.7, 1.2)), 3),
            "startup_s": round(startup_s or float(rng.uniform(2.0, 35.0)), 1),
        }
    return {"hardware": kinds}


def graph(rng: np.random.Generator) -> dict[str, Any]:
    """Return a graph file of two to seven stages: a row, alternatives, branches that meet, or a quorum."""
    shape = str(rng.choice(("row", "row", "cascade", "alternatives", "parallel", "quorum")))
    inner = int(rng.integers(0, 4) if shape == "row" else rng.integers(2, 6))
    # Half of the graphs start everything equally slowly, as where one image is pulled by all.
    startup_s = float(rng.uniform(2.0, 35.0)) if rng.random() < 0.5 else None  # noqa: PLR2004 - half
    middle = [f"m{at}" for at in range(inner)]
    way = ["first", *middle, "last"]
    edges: list[list[Any]] = [[a, b] for a, b in itertools.pairwise(way)]
    made: dict[str, Any] = {"hop_ms": float(rng.choice((0, 2, 4, 8)))}
    if shape == "cascade":
        on = round(float(rng.uniform(0.2, 0.8)), 2)
        edges[1] = [middle[0], middle[1], on]
        edges.append([middle[0], "last", round(1 - on, 2)])
        made["exclusive"] = [middle[0]]
    elif shape != "row":
        shares = np.round(rng.dirichlet(np.full(inner, 3.0)), 2)
        shares[-1] = max(round(1 - float(shares[:-1].sum()), 2), 0.0)
        to: list[list[Any]] = [["first", each] for each in middle]
        if shape == "alternatives":
            to = [[*edge, float(share)] for edge, share in zip(to, shares, strict=True)]
            made["exclusive"] = ["first"]
        if shape == "quorum":
            made["quorum"] = {"last": int(rng.integers(1, inner + 1))}
        edges = [*to, *([each, "last"] for each in middle)]
    made["edges"] = edges
    made["stages"] = {name: stage(rng, startup_s) for name in way}
    return made


def traffic(rng: np.random.Generator, seconds: int) -> tuple[str, Floats]:
    """Return the name of a kind of traffic, and its rate in each second relative to nothing in particular."""
    kind = str(rng.choice(("on_off", "steps", "one_step", "ramp", "spike", "bursts", "flat", "diurnal", "walk")))
    at = np.arange(seconds)
    jump = float(rng.uniform(*_JUMPS))
    rate = np.ones(seconds)
    if kind == "on_off":
        low, on_s, off_s = float(rng.choice((0.02, 0.1, 0.3))), *rng.uniform(20, 200, 2)
        now, begin = bool(rng.random() < 0.7), 0.0  # noqa: PLR2004 - an operator expects more than nothing, mostly
        while begin < seconds:
            end = begin + (on_s if now else off_s) * float(rng.uniform(0.6, 1.4))
            rate[int(begin) : int(end)] = float(rng.uniform(0.8, 1.2)) if now else low
            begin, now = end, not now
    elif kind == "steps":
        bounds = np.sort(rng.choice(np.arange(1, 10), int(rng.integers(2, 6)), replace=False)) / 10 * seconds
        rate = np.exp(rng.uniform(np.log(0.4), np.log(1.6), bounds.size + 1))[np.searchsorted(bounds, at, "right")]
    elif kind == "one_step":
        rate[int(rng.uniform(0.2, 0.7) * seconds) :] = jump
    elif kind in {"ramp", "spike"}:
        begin, within_s, hold_s = rng.uniform(0.15, 0.5) * seconds, rng.uniform(5, 240), rng.uniform(30, 400)
        top = 1.3 * jump
        points, heights = [begin, begin + within_s], [1.0, top]
        if kind == "spike":
            points += [begin + within_s + hold_s, begin + 2 * within_s + hold_s]
            heights += [top, 1.0]
        rate = np.interp(at, points, heights)
    elif kind == "bursts":
        for begin in rng.uniform(0, seconds, max(seconds // 120, 2)):
            rate[int(begin) : int(begin + rng.uniform(3, 40))] *= float(rng.uniform(1.5, 3.0))
    elif kind == "diurnal":
        rate = workloads.diurnal(seconds)
    elif kind == "walk":
        steps = np.cumsum(rng.normal(0, 0.12, seconds // 20 + 2))
        rate = np.exp(np.interp(at / 20, np.arange(steps.size), steps - steps.mean()))
    return kind, rate


@dataclass(frozen=True, slots=True)
class Drawn:
    """One case by its number."""

    number: int

    @property
    def name(self) -> str:
        """Say it in one word that sorts."""
        return f"drawn{self.number:03d}"

    def drawn(self, *, seed: int) -> tuple[Case, str]:
        """Return the case, and what kind of traffic it has."""
        rng = np.random.default_rng([self.number, 4711])
        written = graph(rng)
        read = read_graph(written)
        slo_s = round(read.floor_s * float(rng.uniform(2.5, 7.0)), 2)
        seconds = 60 * int(rng.choice(MINUTES))
        kind, rate = traffic(rng, seconds)
        mean = float(np.exp(rng.uniform(*np.log(RATES))))
        scv = float(rng.choice(_SCVS))
        chance = np.random.default_rng([self.number, seed, 77])
        arrivals = workloads.renewal(mean * rate / rate.mean(), scv=scv, rng=chance)
        return Case(read, arrivals, slo_s, seed=seed), f"{kind} scv {scv:g} {seconds // 60} min"

    def case(self, *, seconds: int, seed: int) -> Case:  # noqa: ARG002 - a cell is asked so; the number says how long
        """Return it as a case."""
        return self.drawn(seed=seed)[0]


def cases(*, held_out: bool) -> tuple[Drawn, ...]:
    """Return the half to work with, or the half to be judged by."""
    begin = HELD_OUT if held_out else 0
    return tuple(Drawn(begin + at) for at in range(MANY))
