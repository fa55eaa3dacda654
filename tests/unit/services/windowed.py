"""A pipeline with windows, and what training computes of what it accepted: for tests, in memory and in processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from guidevane import (
    Ensemble,
    Event,
    Fill,
    Member,
    Numeric,
    Pipeline,
    WindowCount,
    WindowDistinct,
    WindowMean,
)
from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.log import Record
from guidevane.runtime.stage import ORIGIN

SCHEMA = {
    "type": "record",
    "name": "visit",
    "namespace": "shop",
    "fields": [
        {"name": "who", "type": "string"},
        {"name": "at", "type": "long"},
        {"name": "id", "type": ["null", "string"], "default": None},
        {"name": "paid", "type": ["null", "double"], "default": None},
        {"name": "shop", "type": "string"},
    ],
}
PIPELINE = Pipeline(
    name=os.environ.get("WINDOWED_PIPELINE", "p"),
    event=Event("shop.visit.v1", schema=SCHEMA, key="who", id="id", time="at", pii=("who",)),
    features=[
        WindowCount(60.0, name="visits"),
        WindowMean("paid", 120.0, 60.0, 60.0, name="paid_mean"),
        WindowDistinct("shop", 300.0, 60.0, name="shops"),
        Fill("paid_mean", -1.0),
        Numeric("visits"),
        Numeric("paid_mean"),
        Numeric("shops"),
    ],
    ensemble=Ensemble(members=[Member("m", model="math:sqrt")]),
    partitions=2,
)
CATALOGUE = Catalogue()
CATALOGUE.learn(PIPELINE.event)
CODEC = Codec(CATALOGUE)


def offline(accepted: Sequence[Record]) -> dict[tuple[int, int], bytes]:
    """Compute each vector as training does: over the columns of a partition, in order, with nothing kept between."""
    found = {}
    decode = CODEC.decoder(PIPELINE.event.name, version=1)
    for number in {record.partition for record in accepted}:
        records = [record for record in accepted if record.partition == number]
        rows = [decode(CODEC.decode("accepted", record.value, record.headers)["event"]) for record in records]
        for record, vector in zip(records, PIPELINE.vector.matrix(PIPELINE.columns(rows)), strict=True):
            found[number, int(record.header(ORIGIN) or -1)] = vector.tobytes()
    return found


def served(features: Sequence[Record]) -> dict[tuple[int, int], bytes]:
    """Return each vector that was written, by partition and origin: each event has one."""
    found = {
        (record.partition, int(record.header(ORIGIN) or -1)): CODEC.decode("features", record.value, record.headers)[
            "vector"
        ]
        for record in features
    }
    assert len(found) == len(features), "nothing is answered twice"
    return found
