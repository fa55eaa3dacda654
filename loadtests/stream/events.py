"""The events that every contender is given: the example's committed records, encoded before the clock starts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log.murmur import murmur2
from guidevane.pipelines.employment import pipeline
from guidevane.pipelines.employment.data import load


class Sendable(NamedTuple):
    """One event as it is produced."""

    partition: int
    key: bytes
    value: bytes


def arrivals_us(rate_per_s: float, count: int, seed: int) -> np.ndarray:
    """Return ``count`` arrival times from 0, int64 microseconds: a Poisson process.

    >>> times = arrivals_us(100.0, 1000, seed=1)
    >>> len(times), bool((np.diff(times) >= 0).all()), bool(8 < times[-1] / 1e6 < 12)
    (1000, True, True)
    """
    gaps = np.random.default_rng(seed).exponential(1e6 / rate_per_s, size=count)
    return np.cumsum(gaps).astype(np.int64)


def encoded(run: str, due_us: np.ndarray, *, partitions: int) -> list[Sendable]:
    """Return the events of a run, each with its id ``<run>-<index>`` and the time it is due."""
    catalogue = Catalogue([pipeline.event])
    encode = Codec(catalogue).encoder(pipeline.event.name, version=pipeline.event.version)
    records = load()
    made = []
    for index, due in enumerate(due_us.tolist()):
        event = records.event(index % len(records), event_id=f"{run}-{index}", observed_at_us=due)
        key = str(event[pipeline.event.key]).encode()
        made.append(Sendable((murmur2(key) & 0x7FFFFFFF) % partitions, key, encode(event)))
    return made


def labels(run: str, due_us: np.ndarray, *, partitions: int) -> list[Sendable]:
    """Return the truth about the same events, as it becomes known."""
    encode = Codec(Catalogue()).encoder("label")
    records = load()
    made = []
    for index, due in enumerate(due_us.tolist()):
        event_id = f"{run}-{index}"
        body = {"event_id": event_id, "label": records.label(index % len(records)), "observed_at_us": due}
        key = event_id.encode()
        made.append(Sendable((murmur2(key) & 0x7FFFFFFF) % partitions, key, encode(body)))
    return made
