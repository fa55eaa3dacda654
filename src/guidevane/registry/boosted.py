"""Gradient boosted trees: XGBoost's own UBJSON or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xgboost

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.registry.store import ModelVersion


class BoostedPredictor:
    """Trees of ``binary:logistic``, on one CPU thread."""

    def __init__(self, source: ModelVersion) -> None:
        """Load the trees. Raises ``Misconfigured`` where the bytes are no model."""
        self.version = source.version
        self.device = "cpu"
        self._booster = xgboost.Booster({"nthread": 1})
        suffix = ".ubj" if any(name.endswith(".ubj") for name in source.manifest.files) else ".json"
        try:
            self._booster.load_model(bytearray(source.read(suffix)))
        except xgboost.core.XGBoostError as wrong:
            raise Misconfigured(f"{source.path}: XGBoost does not read it: {wrong}") from wrong
        self._booster.set_param({"nthread": 1})

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n] probabilities."""
        return np.asarray(self._booster.inplace_predict(matrix), dtype=np.float64)
