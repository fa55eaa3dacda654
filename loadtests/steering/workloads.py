"""Arrivals by name and seed: shapes of the rate over time, and real recordings scaled.

Inhomogeneous arrivals are a renewal process in operational time: gaps are gamma with mean 1 and the stated squared
coefficient of variation (SCV; InferLine's "CV" is the SCV), and an event falls where the integral of the rate
reaches the sum of the gaps. A shape is a rate relative to the mean, per second of the run.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured
from guidevane.word import nearest
from loadtests.steering import arrivals

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.steering.plant.columns import Floats

DATA = Path(__file__).parent / "data"
HOUR_S = 3600


def flat(seconds: int) -> Floats:
    """Return the rate that never changes."""
    return np.ones(seconds)


def step(seconds: int) -> Floats:
    """Return six plateaus of a sixth of the run: 0.5, 1, 1.6, 0.8, 1.3, 0.7 of the mean."""
    return np.asarray([0.5, 1.0, 1.6, 0.8, 1.3, 0.7])[np.arange(seconds) * 6 // seconds]


def ramp(seconds: int, *, within_s: float) -> Floats:
    """Return 0.5 of the mean, rising at a third of the run to 2 within ``within_s``, and staying there."""
    begin = seconds / 3
    return np.interp(np.arange(seconds), [begin, begin + within_s], [0.5, 2.0])


def spike(seconds: int) -> Floats:
    """Return 0.6 of the mean, from a third of the run up to 2.4 within 60 s, held for 300 s, down again in 120 s."""
    begin = seconds / 3
    at = [begin, begin + 60, begin + 360, begin + 480]
    return np.interp(np.arange(seconds), at, [0.6, 2.4, 2.4, 0.6])


def diurnal(seconds: int) -> Floats:
    """Return one day in the run: 1 + 0.6 sin(2πt/T - π/2) + 0.15 sin(14πt/T)."""
    t = (np.arange(seconds) + 0.5) / seconds
    return 1 + 0.6 * np.sin(2 * np.pi * t - np.pi / 2) + 0.15 * np.sin(14 * np.pi * t)


def renewal(rate_per_s: Floats, *, scv: float, rng: np.random.Generator) -> Floats:
    """Return arrivals of a gamma renewal process in operational time; ``rate_per_s`` is one figure per second."""
    operational = np.concatenate([[0.0], np.cumsum(rate_per_s)])
    expected = operational[-1]
    size = int(expected + 8 * np.sqrt(max(scv, 1.0) * expected) + 50)
    at = np.cumsum(rng.gamma(1 / scv, scv, size))
    # Where the rate is zero the integral is flat: interp takes any point of it, and no event falls inside.
    times = np.interp(at[at < expected], operational, np.arange(rate_per_s.size + 1))
    return np.asarray(times, dtype=np.float64)


@functools.cache
def _recording(name: str) -> Floats:
    return arrivals.read(DATA / f"azure_llm_2023_{name}.csv.gz")


def recorded(name: str, *, rate_per_s: float, seconds: int, rng: np.random.Generator) -> Floats:
    """Return a recording of the Azure LLM services with as many events as the rate asks for.

    Each recorded event becomes several (the quotient, its fraction by chance), each within the gap to the next
    recorded one, so that bursts stay bursts and lulls stay lulls.
    """
    times = _recording(name)
    times = times[times < seconds]
    gaps = np.diff(times, append=float(seconds))
    quotient = rate_per_s * seconds / times.size
    copies = np.floor(quotient + rng.random(times.size)).astype(np.int64)
    spread = np.repeat(gaps, copies) * rng.random(int(copies.sum()))
    return np.sort(np.repeat(times, copies) + spread)


def faro(job: int, *, minutes: int = 360, rng: np.random.Generator) -> Floats:
    """Return one of Faro's ten jobs: a Poisson process within each minute, as Faro's generator has it."""
    with (DATA / "faro_10_jobs_per_minute.csv").open() as file:
        counts = np.asarray([int(row[f"job{job}"]) for row in csv.DictReader(file)][:minutes])
    return renewal(np.repeat(counts / 60.0, 60), scv=1.0, rng=rng)


@dataclass(frozen=True, slots=True)
class Workload:
    """A shape or a recording with a name; called with a mean rate, a length and a seed it gives arrivals."""

    name: str
    shape: Callable[[int], Floats] | None
    scv: float = 1.0
    recording: str = ""
    rises_at: tuple[float, ...] = ()
    """Where steps are, as shares of the run: convergence is measured from there."""

    def __call__(self, *, rate_per_s: float, seconds: int, seed: int) -> Floats:
        """Return arrival times, float64[n], sorted, in [0, seconds)."""
        rng = np.random.default_rng([seed, 77])
        if self.shape is None:
            return recorded(self.recording, rate_per_s=rate_per_s, seconds=seconds, rng=rng)
        return renewal(rate_per_s * self.shape(seconds), scv=self.scv, rng=rng)


WORKLOADS = {
    each.name: each
    for each in (
        Workload("gamma1", flat, scv=1.0),
        Workload("gamma4", flat, scv=4.0),
        Workload("gamma8", flat, scv=8.0),
        Workload("step", step, rises_at=(1 / 6, 2 / 6, 4 / 6)),
        Workload("ramp30", functools.partial(ramp, within_s=30.0), rises_at=(1 / 3,)),
        Workload("ramp60", functools.partial(ramp, within_s=60.0), rises_at=(1 / 3,)),
        Workload("ramp300", functools.partial(ramp, within_s=300.0), rises_at=(1 / 3,)),
        Workload("spike", spike, rises_at=(1 / 3,)),
        Workload("diurnal", diurnal),
        Workload("azure_code", None, recording="code"),
        Workload("azure_conv", None, recording="conv"),
    )
}


def named(name: str) -> Workload:
    """Return a workload by its name.

    Raises:
        Misconfigured: there is none; the message says which there are.
    """
    if name not in WORKLOADS:
        raise Misconfigured(f"there is no workload {name!r} → {nearest(name, list(WORKLOADS))}")
    return WORKLOADS[name]
