"""Given what the monitors keep on disk, whole or damaged, then it counts as far as it is sure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guidevane.errors import Misconfigured
from guidevane.log import Partition
from guidevane.services.monitors.store import Snapshot, Span, Store


def test_given_a_snapshot_and_spans_the_store_gives_them_back(tmp_path):
    store = Store(tmp_path)
    where = Partition("p.labels", 3)
    store.open()
    assert store.load() == (None, [])
    snapshot = Snapshot({where: 5}, {}, {"join": [1.5, None, "é"]})

    store.note([Span(where, 0, 5)])
    store.save(snapshot)
    store.note([Span(where, 5, 6), Span(where, 6, 9)])
    store.close()

    again = Store(tmp_path)
    again.open()
    assert again.load() == (replace(snapshot, pages=[]), [Span(where, 5, 6), Span(where, 6, 9)])
    again.close()


def test_given_a_journal_cut_in_the_middle_of_a_line_that_line_is_left_out(tmp_path):
    store = Store(tmp_path)
    where = Partition("p.labels", 3)
    store.open()
    store.load()
    store.note([Span(where, 0, 5)])
    store.note([Span(where, 5, 9)])
    store.close()
    journal = tmp_path / "journal-0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-3])

    assert store.load() == (None, [Span(where, 0, 5)])


def test_given_a_journal_that_is_damaged_then_it_counts_up_to_there(tmp_path):
    store = Store(tmp_path)
    where = Partition("p.labels", 3)
    store.open()
    store.load()
    for start in (0, 5, 9):
        store.note([Span(where, start, start + 4)])
    store.close()
    journal = tmp_path / "journal-0.jsonl"
    first, second, third = journal.read_bytes().splitlines(keepends=True)
    # As filesystems leave it that had a file's length on the disk, and not yet what was in it.
    journal.write_bytes(first + bytes(len(second) - 1) + b"\n" + third)

    assert store.load() == (None, [Span(where, 0, 4)])


def test_given_a_damaged_snapshot_the_store_says_what_to_do(tmp_path):
    store = Store(tmp_path)
    store.open()
    store.save(Snapshot({}, {}, {"join": 1}))
    path = tmp_path / "snapshot"
    path.write_bytes(path.read_bytes().replace(b'"join":1', b'"join":2'))

    with pytest.raises(Misconfigured, match="damaged"):
        store.load()
    store.close()
