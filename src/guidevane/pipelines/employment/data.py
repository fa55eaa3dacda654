"""The records: a slice of 2016 to 2018 that ships with the package, and the whole that training reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# The survey's names, and ours.
FIELDS: Mapping[str, str] = {
    "AGEP": "age",
    "SCHL": "schooling",
    "MAR": "marital",
    "RELP": "relationship",
    "DIS": "disability",
    "ESP": "employment_parents",
    "CIT": "citizenship",
    "MIG": "mobility",
    "MIL": "military",
    "ANC": "ancestry",
    "NATIVITY": "nativity",
    "DEAR": "deaf",
    "DEYE": "blind",
    "DREM": "cognitive",
    "SEX": "sex",
    "RAC1P": "race",
    "year": "year",
}
SLICE = Path(__file__).parent / "data" / "slice.npz"


@dataclass(frozen=True)
class Records:
    """Records in time order: ``columns`` by our names, ``ids`` int64[n], ``employed`` bool[n], the label."""

    columns: Mapping[str, NDArray[Any]]
    ids: NDArray[np.int64]
    employed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: NDArray[Any]) -> Records:
        """Return the records of a mask or of indices, in that order."""
        columns = {name: column[which] for name, column in self.columns.items()}
        return Records(columns, self.ids[which], self.employed[which])

    def event(
        self, index: int, *, event_id: str | None = None, observed_at_us: int | None = None, replay: str = ""
    ) -> dict[str, object]:
        """Return record ``index`` as an event of ``employment.record.v1``; each replay is the same people again.

        >>> load().event(0, event_id="e1")["year"]
        2016
        """
        del replay
        return {**self._rows[index], "event_id": event_id, "observed_at_us": observed_at_us}

    @cached_property
    def _rows(self) -> list[dict[str, object]]:
        columns = [column.tolist() for column in self.columns.values()]
        return [
            {"person_id": str(number), **dict(zip(self.columns, row, strict=True))}
            for number, row in zip(self.ids.tolist(), zip(*columns, strict=True), strict=True)
        ]

    def label(self, index: int) -> float:
        """Return 1.0 where the person was employed, else 0.0."""
        return float(self.employed[index])

    def label_delay_s(self, rate_per_s: float) -> float:
        """Return when the answer is known: two seconds later, in a demo."""
        del rate_per_s
        return 2.0


@cache
def load() -> Records:
    """Return the slice that ships: every seventh record of 2016 to 2018.

    >>> len(load())
    29842
    """
    with np.load(SLICE, allow_pickle=False) as held:
        columns = {name: held[name] for name in FIELDS.values()}
        return Records(columns, held["id"].astype(np.int64), held["employed"].astype(np.bool_))


def read(directory: Path) -> Records:
    """Return all records of ``employment/{records,labels}.parquet`` under a directory; needs pyarrow."""
    from pyarrow import parquet  # noqa: PLC0415 - only training needs it

    records = parquet.read_table(directory / "employment" / "records.parquet")
    labels = parquet.read_table(directory / "employment" / "labels.parquet")
    employed = dict(zip(labels["id"].to_pylist(), labels["employed"].to_pylist(), strict=True))
    ids = records["id"].to_numpy()
    return Records(
        {ours: records[theirs].to_numpy() for theirs, ours in FIELDS.items()},
        ids.astype(np.int64),
        np.array([employed[each] for each in ids.tolist()], dtype=np.bool_),
    )


def write_slice(records: Records, path: Path) -> None:
    """Write the slice that :func:`load` reads: small integers, compressed, readable with numpy alone."""
    later = records.take(records.columns["year"] > 2015)  # noqa: PLR2004 - the year of training
    part = later.take(np.arange(0, len(later), 7))
    kept: dict[str, Any] = {name: column.astype(np.int8) for name, column in part.columns.items() if name != "year"}
    kept |= {"year": part.columns["year"].astype(np.int16), "id": part.ids.astype(np.int32), "employed": part.employed}
    np.savez_compressed(path, **kept)
