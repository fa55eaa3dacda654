"""Cells that nobody tuned for: random graphs of real profiles, on real recordings, with start-ups up to 35 s.

The same seed gives the same graph; seeds were numbered off, not chosen. Since decision 0022 the two that play ``code``
are no longer among those: its constants were compared on them.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guidevane.control.reading import read_graph
from loadtests.steering import workloads
from loadtests.steering.case import Case
from loadtests.steering.pipelines import HERE, hardware

if TYPE_CHECKING:
    from loadtests.steering.plant.columns import Floats

CPU = ("preprocess", "kernel_svm", "decode", "postprocess")
GPU = ("resnet50", "resnet152", "alexnet", "inception", "lstm", "vgg16", "vgg_face", "yolo9000")
SLOWEST_OVER_FLOOR = (3.0, 6.0)
"""The objective is this many times the floor of the critical path, by chance within."""


def random_graph(seed: int, *, gpu_startup_s: float) -> tuple[dict[str, Any], float]:
    """Return a graph file of three to six stages, and its objective in ms.

    A CPU stage, then one to four models in a row, as alternatives, side by side at a join, or at a quorum.
    """
    rng = np.random.default_rng([seed, 2026])
    measured = json.loads((HERE / "data" / "latency_profiles.json").read_text())
    measured["startup_s"]["gpu"] = gpu_startup_s
    first, last = (str(each) for each in rng.choice(CPU, 2, replace=False))
    models = [str(each) for each in rng.choice(GPU, int(rng.integers(1, 5)), replace=False)]
    shape = str(rng.choice(["row", "alternatives", "parallel", "quorum"])) if len(models) > 1 else "row"
    made: dict[str, Any] = {"hop_ms": float(rng.choice([2, 4, 8]))}
    if shape == "row":
        way: list[str] = [first, *models, last]
        # A later model may be left out for some events, as in a cascade.
        skip = float(rng.uniform(0.3, 1.0)) if len(models) > 1 else 1.0
        edges: list[list[object]] = [[a, b] for a, b in itertools.pairwise(way)]
        made["edges"] = edges
        if skip < 1 and len(models) > 1:
            made["edges"][1] = [models[0], models[1], round(skip, 2)]
            made["edges"].append([models[0], last, round(1 - round(skip, 2), 2)])
            made["exclusive"] = [models[0]]
    else:
        shares = np.round(rng.dirichlet(np.full(len(models), 4.0)), 2)
        shares[-1] = round(1 - float(shares[:-1].sum()), 2)
        to: list[list[object]] = [[first, model] for model in models]
        if shape == "alternatives":
            to = [[*edge, float(share)] for edge, share in zip(to, shares, strict=True)]
            made["exclusive"] = [first]
        if shape == "quorum":
            made["quorum"] = {last: max(len(models) - 1, 1)}
        made["edges"] = [*to, *([model, last] for model in models)]
    made["stages"] = {name: {"hardware": hardware(name, measured)} for name in (first, *models, last)}
    floor_s = read_graph(made).floor_s
    return made, round(1e3 * floor_s * float(rng.uniform(*SLOWEST_OVER_FLOOR)), -1)


def faro_hour(job: int, *, rate_per_s: float, seconds: int, seed: int) -> Floats:
    """Return one of Faro's jobs as Faro plays it, minutes for quarters of an hour: six hours in ``seconds``, scaled."""
    rng = np.random.default_rng([seed, 77])
    minutes = workloads.faro(job, rng=rng)
    counts = np.bincount((minutes // 60).astype(int), minlength=360).astype(float)
    rate = np.interp(np.arange(seconds), (np.arange(360) + 0.5) * seconds / 360, counts)
    return workloads.renewal(rate_per_s * rate / rate.mean(), scv=1.0, rng=rng)


@dataclass(frozen=True, slots=True)
class Unseen:
    """One cell: which graph, which recording, how fast, how long a GPU takes to start."""

    seed: int
    recording: str
    rate_per_s: float
    gpu_startup_s: float

    @property
    def name(self) -> str:
        """Say it in one word."""
        return f"unseen{self.seed}-{self.recording}-{self.gpu_startup_s:g}s"

    def case(self, *, seconds: int, seed: int) -> Case:
        """Return it as a case."""
        made, slo_ms = random_graph(self.seed, gpu_startup_s=self.gpu_startup_s)
        if self.recording.startswith("faro"):
            job = int(self.recording.removeprefix("faro"))
            at = faro_hour(job, rate_per_s=self.rate_per_s, seconds=seconds, seed=seed)
        else:
            workload = workloads.named(f"azure_{self.recording}")
            at = workload(rate_per_s=self.rate_per_s, seconds=seconds, seed=seed)
        return Case(read_graph(made), at, slo_ms / 1e3, seed=seed)


CELLS = tuple(
    Unseen(seed, recording, rate, startup)
    for seed, recording, rate, startup in (
        (1, "code", 40.0, 20.0),
        (2, "conv", 80.0, 20.0),
        (3, "faro0", 60.0, 35.0),
        (4, "faro9", 60.0, 35.0),
        (5, "conv", 40.0, 35.0),
        (6, "faro4", 100.0, 5.0),
        (7, "code", 20.0, 35.0),
        (8, "faro6", 80.0, 20.0),
    )
)
