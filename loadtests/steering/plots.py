"""A timeline of one cell: rate, what the replicas cost, batch of the dearest stage, and misses, per policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from loadtests.steering.case import Case
    from loadtests.steering.comparing import Played
    from loadtests.steering.plant.columns import Floats

SPAN_S = 10


def per_span(at_s: Floats, seconds: int) -> Floats:
    """Return events per second over spans of 10 s."""
    spans = max(seconds // SPAN_S, 1)
    counts: Floats = np.histogram(at_s, bins=spans, range=(0, spans * SPAN_S))[0] / SPAN_S
    return counts


def timeline(path: Path, title: str, case: Case, played: Mapping[str, Played]) -> None:
    """Draw one cell to a PNG."""
    seconds = int(case.length_s)
    figure, axes = plt.subplots(4, 1, figsize=(10, 9), sharex=True)
    spans = np.arange(max(seconds // SPAN_S, 1)) * SPAN_S
    axes[0].step(spans, per_span(case.arrivals_s, seconds), color="black", linewidth=0.8)
    axes[0].set_ylabel("events/s")
    dearest = int(np.argmax([max(hw.price_usd_per_hour for hw in each.hardware) for each in case.graph.stages]))
    for name, each in played.items():
        run, at = each.run, np.arange(min(each.run.replicas.shape[0], seconds))
        line = {"linewidth": 1.4 if name in {"guidevane", "oracle"} else 0.8, "label": name}
        axes[1].step(at, run.replicas[: at.size].sum(axis=1), **line)
        axes[2].step(at, run.batch[: at.size, dearest], **line)
        late = case.arrivals_s[run.latency_s > case.slo_s]
        axes[3].step(spans, per_span(late, seconds), **line)
    axes[1].set_ylabel("replicas, all stages")
    axes[1].set_yscale("log")
    axes[2].set_ylabel(f"batch of {case.graph.names[dearest]}")
    axes[3].set_ylabel("misses/s")
    axes[3].set_yscale("symlog", linthresh=1)
    axes[3].set_xlabel("seconds")
    axes[0].set_title(title)
    axes[1].legend(loc="upper left", fontsize=7, ncols=4)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)
