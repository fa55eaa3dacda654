"""Windowed features: Faust's tables hold them, the one worker loop drives them. The only file that imports Faust.

A Faust agent would be a second loop, with other promises (decision 0007 has what was measured). What is Faust's here is
the table: keyed state in memory, whose changelog brings it back wherever the partition goes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import faust
import orjson
from faust.exceptions import DecodeError
from faust.serializers.codecs import Codec as FaustCodec

from guidevane.errors import Misconfigured
from guidevane.features import TIME, Kept
from guidevane.log import Message, Record
from guidevane.services.preprocess.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.features import Window
    from guidevane.pipeline import Pipeline
    from guidevane.runtime.stage import Changes
    from guidevane.services.passing import Received


class Held(NamedTuple):
    """What one key's windows hold, and the origin of the last event in it: an event counts once."""

    origin: int
    kept: tuple[Kept | None, ...]


class _HeldCodec(FaustCodec):  # type: ignore[misc]  # Faust is not typed as strictly as we are
    """``Held`` as JSON, so that anyone can read the table's topic."""

    def _dumps(self, held: Held) -> bytes:
        windows: Sequence[Window] = self.kwargs["windows"]
        return orjson.dumps(
            {
                "origin": held.origin,
                "windows": {
                    window.name: None
                    if kept is None
                    else {"newest": kept.newest, "panes": [[n, window.dump(p)] for n, p in sorted(kept.panes.items())]}
                    for window, kept in zip(windows, held.kept, strict=True)
                },
            }
        )

    def _loads(self, written: bytes) -> Held:
        body = orjson.loads(written)
        windows: Sequence[Window] = self.kwargs["windows"]
        found = [body["windows"][window.name] for window in windows]
        return Held(
            body["origin"],
            tuple(
                None if each is None else Kept(each["newest"], {n: window.load(pane) for n, pane in each["panes"]})
                for window, each in zip(windows, found, strict=True)
            ),
        )


class _Table(faust.Table):  # type: ignore[misc]  # as above
    """A table whose changelog the worker writes, once the outputs are durable: Faust would write it before them."""

    def on_key_set(self, key: str, value: Held) -> None:
        """Tell nobody yet."""


class WindowTable:
    """The memory of the preprocess stage: what the windows hold of each key of the partitions that are owned."""

    def __init__(self, pipeline: Pipeline, read: Callable[[Record], tuple[Received, dict[str, Any]]]) -> None:
        """Make the table. ``read`` decodes an accepted record into its event's envelope and fields."""
        self.topic = str(pipeline.windows_topic)
        self.windows = pipeline.vector.windows
        self._read = read
        self._key = pipeline.event.key
        self._time_us = pipeline.event.time_us
        # Never started: no consumer, no agent, no web server, no transactions. Faust's part is the table.
        self._app = faust.App(
            self.topic,
            autodiscover=False,
            web_enabled=False,
            store="memory://",
            processing_guarantee="at_least_once",
        )
        self._codec = _HeldCodec(windows=self.windows)
        self._partitions = pipeline.partitions
        self._table = self._made()
        self._highest: dict[int, int] = {}

    def _made(self) -> _Table:
        table = _Table(self._app, name=self.topic, key_type=str, partitions=self._partitions)
        table.value_serializer = self._codec
        return table

    def restore(self, partition: int, written: Sequence[Record]) -> None:
        """Begin a partition with what its changelog holds. Raises ``Misconfigured`` where that is not ours."""
        latest: dict[str, faust.Event] = {}
        for record in written:
            try:
                key = self._app.serializers.loads_key(str, record.key, serializer=self._table.key_serializer)
                held = self._app.serializers.loads_value(None, record.value, serializer=self._codec)
            except DecodeError as wrong:
                raise Misconfigured(
                    f"{self.topic}/{partition} at {record.offset} is no state of these windows ({wrong}) → "
                    "delete the topic: windows begin anew, at the place that is committed"
                ) from wrong
            # A zombie may have written behind its successor: who has seen more is right.
            before = latest.get(key)
            if held is not None and (before is None or before.value.origin <= held.origin):
                latest[key] = faust.Event(self._app, key, held, None, record)
        self._table.apply_changelog_batch(latest.values())

    def forget(self) -> None:
        """Let go of everything."""
        self._table = self._made()
        self._highest.clear()

    def advance(self, records: Sequence[Record], origins: Sequence[int]) -> tuple[list[Record], Changes]:
        """Let each event see its windows, and let them hold it from then on."""
        changes: dict[tuple[int, str], object] = {}
        onward = []
        for record, origin in zip(records, origins, strict=True):
            try:
                seen = self._see(record, origin, changes)
            except Exception as broken:  # noqa: BLE001 - the handler raises it again, for this record alone
                onward.append(record._replace(body=broken))
            else:
                onward.append(record._replace(body=seen))
            self._highest[record.partition] = max(origin, self._highest.get(record.partition, -1))
        return onward, changes

    def _see(self, record: Record, origin: int, changes: dict[tuple[int, str], object]) -> Seen:
        accepted, row = self._read(record)
        # A table's keys are text, and a key may turn up in two partitions: producers differ in how they partition.
        key = f"{record.partition}/{row[self._key]}"
        held: Held | None = self._table.data.get(key)
        if held is not None and origin <= held.origin:
            return Seen(accepted, row, None, twice=origin <= self._highest.get(record.partition, -1))
        found: dict[str, float] = {}
        kept = []
        for window, before in zip(
            self.windows, held.kept if held is not None else (None,) * len(self.windows), strict=True
        ):
            # Not the envelope's time: where an event says none, that is its record's, which training never saw.
            time = self._time_us(row) if window.time == TIME else row.get(window.time)
            after, found[window.name] = window.see(before, time, row.get(window.field) if window.field else None)
            kept.append(after)
        self._table[key] = changes[record.partition, key] = Held(origin, tuple(kept))
        return Seen(accepted, row, found)

    def write(self, changes: Changes) -> Mapping[int, Sequence[Message]]:
        """Return the changelog's records, by partition."""
        told: dict[int, list[Message]] = defaultdict(list)
        for (partition, key), held in changes.items():
            told[partition].append(
                Message(
                    self._app.serializers.dumps_key(str, key, serializer=self._table.key_serializer),
                    self._app.serializers.dumps_value(None, held, serializer=self._codec),
                )
            )
        return told
