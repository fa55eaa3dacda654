"""River's logistic regression: its weights as JSON, scored by numpy; River itself is not needed to serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydantic

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.registry.store import ModelVersion


class _Weights(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    weights: tuple[pydantic.FiniteFloat, ...]
    intercept: pydantic.FiniteFloat


class LinearPredictor:
    """``sigmoid(intercept + Σ weight · x)`` in float64: what River's ``predict_proba_one`` computes.

    ``model.json`` holds ``{"weights": [one a column of the vector], "intercept": number}``.
    """

    def __init__(self, source: ModelVersion) -> None:
        """Read the weights. Raises ``Misconfigured`` where the file holds none."""
        self.version = source.version
        self.device = "cpu"
        try:
            found = _Weights.model_validate_json(source.read(".json"))
        except pydantic.ValidationError as wrong:
            raise Misconfigured(f"{source.path}: these are no weights: {wrong}") from wrong
        self._weights, self._intercept = found.weights, found.intercept

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n] probabilities. Raises ``Misconfigured`` where the vector has another width."""
        if matrix.shape[1] != len(self._weights):
            raise Misconfigured(f"the model has {len(self._weights)} weights, the vectors {matrix.shape[1]} numbers")
        logits = np.full(len(matrix), self._intercept)
        # Column by column, since a matrix product sums in an order that depends on the number of rows.
        for weight, column in zip(self._weights, matrix.T, strict=True):
            logits += weight * column.astype(np.float64)
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-logits)))
