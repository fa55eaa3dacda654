"""What is remembered of events is written a little at a time; wherever that ends, the room goes on as if it had not."""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.monitors.given import decision, label
from tests.unit.services.monitored import TOPICS, feed
from tests.unit.services.test_watching import READ, watcher

from guidevane.errors import Misconfigured
from guidevane.log import Partition
from guidevane.log.memory import MemoryLog
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.services.monitors.pages import Page, Pages
from guidevane.services.monitors.store import Snapshot, Span, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guidevane.log import Record
    from guidevane.services.monitors.watching import Output, Watcher

EVENTS = [f"e{number}" for number in range(6)]
BATCHES = Partition("batches", 0)


class KilledError(Exception):
    """The process died here."""


class Disk:
    """Lets ``calls`` calls change the disk; within the next one the process dies, and changes nothing any more."""

    def __init__(self, patch: pytest.MonkeyPatch, calls: int) -> None:
        self.calls = calls
        for name in ("write", "fsync", "replace", "unlink"):
            patch.setattr(os, name, self._mortal(getattr(os, name)))

    def _mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(what: Any, *rest: Any, **named: Any) -> Any:
            self.calls -= 1
            if self.calls == -1 and call.__name__ == "write":
                call(what, bytes(rest[0])[: len(rest[0]) // 2])
            if self.calls < 0:
                raise KilledError
            return call(what, *rest, **named)

        return mortal


def lived(by: Watcher, folder: Path, batches: Sequence[Sequence[Record]], said: dict[int, list[Output]]) -> bytes:
    """Take what is left to a room with this folder, as the room does; note what is said, return what is remembered."""
    store = Store(folder, pages=Pages(folder, rows_each=4))

    def take(at: int) -> None:
        found = by.take(batches[at])
        assert said.setdefault(at, found) == found
        written(store.pages, by.join)

    try:
        store.open()
        snapshot, spans = store.load()
        begin = 0
        if snapshot is not None:
            by.restore(snapshot.state, snapshot.pages)
            begin = snapshot.positions[BATCHES]
        after = begin + len(spans)
        assert [span.start for span in spans] == list(range(begin, after))
        for at in range(begin, after):
            take(at)
        store.save(Snapshot({BATCHES: after}, {}, by.state()))
        for at in range(after, len(batches)):
            store.note([Span(BATCHES, at, at + 1)])
            take(at)
            if at % 5 == 4:
                store.save(Snapshot({BATCHES: at + 1}, {}, by.state()))
        return orjson.dumps([by.state(), by.join.state()])
    finally:
        store.close()


def written(pages: Pages, join: OutcomeJoin) -> None:
    for _ in pages.write(join.remembered):
        pass


async def test_given_a_kill_at_any_write_what_is_said_and_remembered_is_that_of_a_room_that_was_never_killed(
    tmp_path, monkeypatch
):
    # A process that dies leaves to the kernel what it wrote, whether it was waited for or not.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    log, rng = MemoryLog(partitions=1), random.Random(5)
    await feed(log, rng, 24)
    batches = [log.topic(topic)[0][at : at + 3] for at in range(0, 30, 3) for topic in READ]
    batches = [batch for batch in batches if batch]
    expected: dict[int, list[Output]] = {}
    by = watcher(max_pending=8)
    nothing = orjson.dumps(by.state())
    clean = lived(by, tmp_path / "clean", batches, expected)
    assert {each.topic for found in expected.values() for each in found} >= {TOPICS.outcomes, TOPICS.alerts}

    for calls in count():
        said: dict[int, list[Output]] = {}
        # Some die once more while they recover, or soon after.
        for life in (calls, rng.choice([0, 2, 5, 9, 20])):
            with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
                disk = Disk(patch, life)
                by.restore(orjson.loads(nothing), ())
                lived(by, tmp_path / f"{calls}", batches, said)
            if disk.calls >= 0:
                break
        by.restore(orjson.loads(nothing), ())
        assert lived(by, tmp_path / f"{calls}", batches, said) == clean
        assert said == expected
        if life == calls and disk.calls >= 0:
            break
    assert calls > 100


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["write", "save", "crash"]),
            st.tuples(st.sampled_from(EVENTS), st.one_of(st.none(), st.sampled_from([0.0, 1.0]), st.integers(0, 5))),
        ),
        max_size=80,
    ),
    st.integers(1, 4),
    st.integers(1, 7),
)
def test_given_anything_that_comes_and_crashes_what_was_saved_is_what_comes_back(arriving, rows_each, most):
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        join, pages = OutcomeJoin(ttl_s=20e-6, max_pending=most), Pages(folder, rows_each=rows_each)
        saved, whole, counted = join.head(), join.state(), list[Page]()
        for at, each in enumerate(arriving):
            if each in {"write", "save"}:
                written(pages, join)
                # Twice what is remembered, and what is spared: more is never on the disk once it is settled.
                assert pages._rows <= 2 * len(join.remembered) + 5 * rows_each
            if each == "save":
                counted = pages.settle()
                saved, whole = orjson.loads(orjson.dumps(join.head())), join.state()
                pages.sweep()
            elif each == "crash":
                pages.close()
                join, pages = OutcomeJoin(ttl_s=20e-6, max_pending=most), Pages(folder, rows_each=rows_each)
                join.restore({**saved, "pages": pages.load(counted)})
                assert orjson.dumps(join.state()) == orjson.dumps(whole)
                assert len(list(folder.iterdir())) <= len(counted)
            elif each != "write":
                event_id, value = each
                if value is None:
                    join.decide(decision(event_id, at_us=at), written_at_us=at)
                else:
                    join.label(label(event_id, float(value), at if value == 1 else None), written_at_us=at)
        pages.close()


def test_given_events_that_wait_for_long_among_many_that_do_not_the_pages_stay_few(tmp_path):
    join, pages = OutcomeJoin(max_pending=50), Pages(tmp_path, rows_each=16)
    for number in range(5):
        join.label(label(f"orphan{number}", 1.0), written_at_us=1)

    for number in range(3000):
        join.decide(decision(f"e{number}", at_us=number), written_at_us=number)
        written(pages, join)
        if number % 100 == 0:
            counted = pages.settle()
            pages.sweep()
            assert sum(page.rows for page in counted) <= 2 * 50 + 5 * 16

    assert join.counts.orphans == 0
    assert join.decide(decision("orphan3", at_us=3000), written_at_us=3000)
    pages.close()


def test_given_many_events_each_is_written_once_and_a_snapshot_writes_none_of_them(tmp_path, monkeypatch):
    store, join, sizes = Store(tmp_path), OutcomeJoin(), []
    store.open()
    for number in range(5000):
        join.decide(decision(f"e{number}"), written_at_us=1)
    written(store.pages, join)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: sizes.append(len(data)) or write(handle, data))

    written(store.pages, join)
    store.save(Snapshot({}, {}, {"join": join.head()}))

    assert sum(sizes) < 1000
    store.close()


@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_given_a_damaged_page_the_store_says_what_to_do(tmp_path, harm):
    store, join = Store(tmp_path), OutcomeJoin()
    store.open()
    join.label(label("e1", 1.0), written_at_us=1)
    written(store.pages, join)
    store.save(Snapshot({}, {}, {"join": join.head()}))
    path = tmp_path / "page-0"
    body = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(body[:-2] if harm == "cut" else body.replace(b"e1", b"e2"))

    with pytest.raises(Misconfigured, match="damaged"):
        store.load()
    store.close()
