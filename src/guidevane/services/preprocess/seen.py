"""What features see of events: their fields, and what the windows saw, on the way from the table to the handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from guidevane.features import columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.features import FeatureSet, Vectors
    from guidevane.services.passing import Received


class Seen(NamedTuple):
    """An event, decoded, with what each window saw of it by name.

    ``windows`` is ``None`` where the table has counted the event before; ``twice`` where that was in this very life:
    then it came twice, and was answered the first time.
    """

    accepted: Received
    row: dict[str, Any]
    windows: Mapping[str, float] | None
    twice: bool = False


def matrix_of(
    features: FeatureSet, rows: Sequence[Mapping[str, Any]], windows: Sequence[Mapping[str, float]] | None = None
) -> Vectors:
    """Return float32[n, width] of events; ``windows`` is what each one's windows saw, where there are any."""
    saw = None
    if windows is not None:
        names = [window.name for window in features.windows]
        saw = {name: np.array([seen[name] for seen in windows], dtype=np.float64) for name in names}
    return features.matrix(columns_of(rows, features.reads), windowed=saw)
