"""Scores that do not depend on the batch: every call a model sees has the same shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.registry.predictor import Predictor


class Tiled:
    """A predictor that is called with exactly ``tile`` rows each time, the last tile padded with zeros.

    Libraries choose their kernels by shape, and kernels differ in the last bits. With one shape, one machine type and
    one thread, a row's score is the same to the byte however its batch was cut.
    """

    def __init__(self, predictor: Predictor, tile: int = 64) -> None:
        self._predictor = predictor
        self.tile = tile
        self.version = predictor.version
        self.device = predictor.device

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n] of float32[n, d], in ``ceil(n / tile)`` calls.

        Raises ``Misconfigured`` where the model gives other than one score a row.
        """
        rows, width = matrix.shape
        scores = np.empty(rows, dtype=np.float64)
        for start in range(0, rows, self.tile):
            part = np.zeros((self.tile, width), dtype=np.float32)
            size = min(self.tile, rows - start)
            part[:size] = matrix[start : start + size]
            said = self._predictor.predict(part)
            if said.shape != (self.tile,):
                # Assigned as it is, one score would be spread over all events.
                raise Misconfigured(f"{self.version}: scores of shape {said.shape} for {self.tile} events")
            scores[start : start + size] = said[:size]
        return scores
