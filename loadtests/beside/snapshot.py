"""``python -m loadtests.beside.snapshot``: what it takes to write down 100,000 pending events, and how long at once.

The join is filled as at 4,000/s; each half second it takes and writes what came, each quarter of a minute there
is a snapshot. Told are CPU seconds by the quarter of a minute, and the longest stretch that the loop or a core is held.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from guidevane.log import Partition
from guidevane.monitors.outcomes import OutcomeJoin
from guidevane.runtime.garbage import freeze
from guidevane.services.monitors.store import Snapshot, Store

_PENDING: Final = 100_000
_A_SECOND: Final = (500, 4000)
_EVERY_S, _TURN_S, _ROUNDS = 15, 0.5, 3
_MAPS: Final[tuple[dict[str, str], ...]] = ({"wide": "1", "deep": "2", "tree": "3"}, {"sex": "F", "race": "White"})
_BEGAN_US: Final = 1_700_000_000_000_000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        store, join = Store(Path(folder)), OutcomeJoin(max_pending=_PENDING)
        store.open()
        store.load()
        _take(join, 0, _PENDING)
        _longest_s(store, join)
        _saved_s(store, join)
        freeze()
        number = _PENDING
        for rate in _A_SECOND:
            for _ in range(_ROUNDS):
                taken_s, rows_s, longest_s = 0.0, 0.0, 0.0
                for _ in range(int(_EVERY_S / _TURN_S)):
                    began_s = time.thread_time()
                    number = _take(join, number, int(rate * _TURN_S))
                    taken_s += time.thread_time() - began_s
                    used_s, most_s = _longest_s(store, join)
                    rows_s, longest_s = rows_s + used_s, max(longest_s, most_s)
                saved_s = _saved_s(store, join)
                sys.stdout.write(
                    f"{rate} events/s, in {_EVERY_S} s: joined in {taken_s:.3f} CPU-s, rows in {rows_s:.3f} "
                    f"({rows_s / rate / _EVERY_S * 1e6:.1f} us an event, {longest_s * 1e3:.1f} ms at once at most), "
                    f"snapshot in {saved_s:.3f}\n"
                )
        store.close()


def _take(join: OutcomeJoin, number: int, count: int) -> int:
    which = range(number, number + count)
    kept: list[tuple[Any, ...]] = [
        (f"{at:032x}", _BEGAN_US + at, 0.1234567 + at * 1e-7, 0.2345678, True, "full", *_MAPS) for at in which
    ]
    join.decide_all([f"event-{at:032x}" for at in which], kept, written_at_us=[_BEGAN_US + at for at in which])
    return number + count


def _longest_s(store: Store, join: OutcomeJoin) -> tuple[float, float]:
    """Write the rows; return the CPU seconds that it took, and those of its longest slice."""
    whole_s, longest_s, began_s = 0.0, 0.0, time.thread_time()
    for _ in store.pages.write(join.remembered):
        used_s = time.thread_time() - began_s
        whole_s, longest_s, began_s = whole_s + used_s, max(longest_s, used_s), time.thread_time()
    return whole_s + time.thread_time() - began_s, max(longest_s, time.thread_time() - began_s)


def _saved_s(store: Store, join: OutcomeJoin) -> float:
    began_s = time.thread_time()
    store.save(Snapshot({Partition("accepted", 0): 1}, {}, {"join": join.head()}))
    return time.thread_time() - began_s


if __name__ == "__main__":
    main()
