"""The readings: a slice that ships with the package, and the whole that training reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# In the file's order.
FIELDS = ("period", "price", "demand", "vic_price", "vic_demand", "transfer")
SLICE = Path(__file__).parent / "data" / "slice.npz"
HALF_HOUR_US = 1_800_000_000
# The first half hour of 7 May 1996; the market's clock is taken for UTC.
BEGAN_US = 831_427_200_000_000
# The file has six decimals, with the dust of binary fractions behind some.
_PARTS = 1_000_000
HELD_OUT = 0.4


@dataclass(frozen=True)
class Readings:
    """Half hours in order: ``columns`` by name, and whether the price rose above its day's mean in the *next* one.

    ``first`` counts half hours from the beginning of the market's records.
    """

    columns: Mapping[str, NDArray[Any]]
    up: NDArray[np.bool_]
    first: int = 0

    def __len__(self) -> int:
        return len(self.up)

    def part(self, start: int, end: int) -> Readings:
        """Return some of them, from ``start`` to before ``end``."""
        return Readings({k: v[start:end] for k, v in self.columns.items()}, self.up[start:end], self.first + start)

    @property
    def times_us(self) -> NDArray[np.int64]:
        """When each half hour began."""
        return BEGAN_US + (self.first + np.arange(len(self), dtype=np.int64)) * HALF_HOUR_US

    def event(
        self, index: int, *, event_id: str | None = None, observed_at_us: int | None = None, replay: str = ""
    ) -> dict[str, object]:
        """Return reading ``index`` as an event of ``electricity.reading.v1``.

        Each replay is a market of its own: its time begins anew, and windows must not mix it with another's.

        >>> load().event(0, replay="7")["market"]
        'nsw-7'
        """
        return {
            **self._rows[index],
            "market": f"nsw-{replay}" if replay else "nsw",
            "event_id": event_id,
            "observed_at_us": observed_at_us,
        }

    @cached_property
    def _rows(self) -> list[dict[str, object]]:
        names = ("half_hour_us", *self.columns)
        columns = [self.times_us.tolist(), *(column.tolist() for column in self.columns.values())]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def label(self, index: int) -> float:
        """Return 1.0 where the next half hour was dear, else 0.0."""
        return float(self.up[index])

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return when the truth is known: with the next reading, and not before a second is over."""
        return max(1.0, 1.0 / rate_per_s)


@cache
def load() -> Readings:
    """Return the slice that ships: what no member was trained on, the last two fifths.

    >>> len(load())
    18143
    """
    with np.load(SLICE, allow_pickle=False) as held:
        return Readings(
            {"period": held["period"].astype(np.int64)}
            | {name: held[name].astype(np.float64) / _PARTS for name in FIELDS[1:]},
            held["up"].astype(np.bool_),
            int(held["first"]),
        )


def read(directory: Path) -> Readings:
    """Return all readings of ``electricity/elec2.parquet`` under a directory; needs pyarrow.

    The file's label compares a half hour's price with the mean of the 48 before it: who knows the price and has a
    window knows the label. What is asked here is the label of the half hour *after*; the last one has none.
    """
    from pyarrow import parquet  # noqa: PLC0415 - only training needs it

    table = parquet.read_table(directory / "electricity" / "elec2.parquet")
    columns = {name: table[f"feat_{place}"].to_numpy() for place, name in enumerate(FIELDS, start=1)}
    rounded = {name: np.round(column[:-1] * _PARTS) / _PARTS for name, column in columns.items()}
    rounded["period"] = np.round(columns["period"][:-1] * 47).astype(np.int64)
    return Readings(rounded, table["target"].to_numpy()[1:].astype(np.bool_))


def write_slice(readings: Readings, path: Path) -> None:
    """Write the slice that :func:`load` reads: whole numbers, compressed, readable with numpy alone."""
    later = readings.part(held_out_from(readings), len(readings))
    kept: dict[str, Any] = {name: np.round(later.columns[name] * _PARTS).astype(np.int32) for name in FIELDS[1:]}
    kept |= {"period": later.columns["period"].astype(np.int8), "up": later.up, "first": np.int64(later.first)}
    np.savez_compressed(path, **kept)


def held_out_from(readings: Readings) -> int:
    """Return where that begins which nothing is fitted to: at midnight."""
    return round(len(readings) * (1 - HELD_OUT)) // 48 * 48
