"""The five pipelines of the evaluation, from measured profiles; ``python -m loadtests.steering.pipelines`` writes them.

A stage may run on all that was measured for it: CPU core, K80, V100 (derived) or TITAN X; a GPU comes with the CPU core
that feeds it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guidevane.control.reading import read_graph
from guidevane.errors import Misconfigured
from guidevane.word import nearest

if TYPE_CHECKING:
    from guidevane.control.graph import Graph

HERE = Path(__file__).parent
GRAPHS = HERE / "graphs"
V100_FASTER, V100_MORE_MS = 4.0, 1.0

ACCURACY = {"alexnet": 0.565, "resnet50": 0.761, "resnet152": 0.783, "inception": 0.773, "vgg16": 0.716}
"""Top-1 accuracy on ImageNet, as torchvision's model pages state it: which member is worth least."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A graph with its objective, and the share of the workloads' rate that it is played at."""

    name: str
    slo_ms: float
    edges: tuple[tuple[object, ...], ...]
    exclusive: tuple[str, ...] = ()
    quorum: tuple[tuple[str, int], ...] = ()
    rate: float = 1.0

    def graph(self, *, gpu_startup_s: float | None = None) -> Graph:
        """Return the graph of the written file, GPUs starting in another time where that is given."""
        written = json.loads((GRAPHS / f"{self.name}.json").read_text())
        for stage in written["stages"].values() if gpu_startup_s is not None else ():
            for name, hardware in stage["hardware"].items():
                if name != "cpu":
                    hardware["startup_s"] = gpu_startup_s
        return read_graph(written)


PIPELINES = {
    each.name: each
    for each in (
        Pipeline("image", 300, (("preprocess", "resnet152"), ("resnet152", "postprocess"))),
        Pipeline(
            "cascade",
            300,
            (
                ("preprocess", "resnet50"),
                ("resnet50", "resnet152", 0.34),
                ("resnet50", "postprocess", 0.66),
                ("resnet152", "postprocess"),
            ),
            exclusive=("resnet50",),
        ),
        Pipeline(
            "social",
            800,
            (
                ("language_id", "nmt", 0.3),
                ("language_id", "lstm", 0.7),
                ("nmt", "lstm"),
                ("lstm", "kernel_svm"),
                ("inception", "kernel_svm"),
            ),
            exclusive=("language_id",),
            # NMT is slow: research calibrated social at a third of the others' rate.
            rate=1 / 3,
        ),
        Pipeline(
            "video",
            400,
            (
                ("decode", "yolo9000"),
                ("yolo9000", "vgg16", 0.6),
                ("yolo9000", "vgg_face", 0.4),
                ("vgg16", "postprocess"),
                ("vgg_face", "postprocess"),
            ),
            exclusive=("yolo9000",),
        ),
        Pipeline(
            "ensemble",
            300,
            (
                *(("preprocess", each) for each in ACCURACY),
                *((each, "postprocess") for each in ACCURACY),
            ),
            quorum=(("postprocess", 3),),
        ),
    )
}


def named(name: str) -> Pipeline:
    """Return a pipeline by its name.

    Raises:
        Misconfigured: there is none; the message says which there are.
    """
    if name not in PIPELINES:
        raise Misconfigured(f"there is no pipeline {name!r} → {nearest(name, list(PIPELINES))}")
    return PIPELINES[name]


def hardware(model: str, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the hardware of one model, as a graph file writes it."""
    latency, price, startup = measured["latency_ms"], measured["price_usd_per_hour"], measured["startup_s"]
    tables: dict[str, dict[str, float]] = {kind: latency[kind][model] for kind in latency if model in latency[kind]}
    if "k80" in tables:
        tables["v100"] = {size: round(ms / V100_FASTER + V100_MORE_MS, 2) for size, ms in tables["k80"].items()}
    return {
        kind: {
            "latency_ms": table,
            "price_usd_per_hour": price["cpu_core"] if kind == "cpu" else round(price[kind] + price["cpu_core"], 4),
            "startup_s": startup["cpu" if kind == "cpu" else "gpu"],
        }
        for kind, table in tables.items()
    }


def written(pipeline: Pipeline, measured: dict[str, Any]) -> dict[str, Any]:
    """Return a pipeline in the form of a graph file."""
    names = dict.fromkeys(str(name) for edge in pipeline.edges for name in edge[:2])
    stages = {
        name: {
            "hardware": hardware(name, measured),
            **({"accuracy": ACCURACY[name]} if pipeline.quorum and name in ACCURACY else {}),
        }
        for name in names
    }
    made: dict[str, Any] = {"stages": stages, "edges": [list(edge) for edge in pipeline.edges], "hop_ms": 4}
    if pipeline.exclusive:
        made["exclusive"] = list(pipeline.exclusive)
    if pipeline.quorum:
        made["quorum"] = dict(pipeline.quorum)
    return made


def main() -> None:
    """Write all graph files."""
    measured = json.loads((HERE / "data" / "latency_profiles.json").read_text())
    for pipeline in PIPELINES.values():
        path = GRAPHS / f"{pipeline.name}.json"
        path.write_text(json.dumps(written(pipeline, measured), indent=1) + "\n")


if __name__ == "__main__":
    main()
