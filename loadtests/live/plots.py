"""One picture for each workload: what came, the replicas that each contender had, and how long events took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_BIN_S = 2.0


def plot(
    workload: str, times: NDArray[np.float64], runs: Mapping[str, Mapping[str, Any]], slo_ms: float, path: Path
) -> None:
    """Write the picture of one workload's runs."""
    import matplotlib as mpl  # noqa: PLC0415 - only who plots waits for it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, (rate, replicas, latency) = plt.subplots(3, 1, figsize=(9, 8), sharex=True)
    counts, edges = np.histogram(times, bins=np.arange(0.0, float(times[-1]) + _BIN_S, _BIN_S))
    rate.step(edges[:-1], counts / _BIN_S, where="post", color="0.3")
    rate.set_ylabel("events/s")
    rate.set_title(f"{workload}: emulated members on real Kafka and Ray Serve")
    for name, run in runs.items():
        timeline = run["timeline"]
        total = [sum(each["replicas"].values()) for each in timeline]
        label = f"{name}: {run['miss']:.2%} missed, {run['replica_seconds']:.0f} replica-seconds"
        replicas.step([each["at_s"] for each in timeline], total, where="post", label=label)
        steps = [each for each in run["latency_timeline_ms"] if each["p99"] is not None]
        latency.plot([each["from_s"] for each in steps], [each["p99"] for each in steps], label=name)
    replicas.set_ylabel("replicas")
    replicas.legend(fontsize=8)
    latency.axhline(slo_ms, color="0.6", linestyle="--")
    latency.set_ylabel("p99, ms")
    latency.set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
