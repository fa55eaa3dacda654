"""What the rooms are told so that they fit this machine, where the environment does not say otherwise."""

from __future__ import annotations

import os


def machine_settings(*, rooms: int) -> dict[str, str]:
    """Return the environment of ``rooms`` processes on the way of an event, and of those beside it."""
    cores = os.cpu_count() or 2
    fits = {
        # Replicas beyond the cores would only take them from each other; one core is the rooms' and the broker's.
        "GUIDEVANE_REPLICA_CPUS": str(max(cores - 1, 1)),
        "GUIDEVANE_MAX_REPLICAS": "32",
        # A further process of a room helps where a core is free for it, beside the broker and the replicas.
        "GUIDEVANE_MAX_CONSUMERS": str(max(cores // (2 * rooms), 1)),
        "GUIDEVANE_CONSUMERS_BY": "supervisor",
        # Nothing travels far here, and many a batch holds one event: packing it costs more than it saves.
        "KAFKA_COMPRESSION_TYPE": "none",
        # Numeric libraries start a thread a core in every process; a dozen processes share these cores.
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    return {"PYTHONUNBUFFERED": "1", **{name: os.environ.get(name, value) for name, value in fits.items()}}
