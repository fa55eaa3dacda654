"""An author's own model: what ``module:factory`` names, called without arguments."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def attribute(module: str, name: str) -> Callable[..., object]:
    """Import what ``module:name`` says. Raises ``Misconfigured`` where it is not there or cannot be called."""
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as wrong:
        raise Misconfigured(f"'{module}:{name}' cannot be imported: {wrong}") from wrong
    if not callable(found):
        raise Misconfigured(f"'{module}:{name}' cannot be called")
    return found  # type: ignore[no-any-return]


class Made:
    """An author's own object, its scores checked."""

    def __init__(self, made: object, source: str) -> None:
        predict = getattr(made, "predict", None)
        if not callable(predict):
            raise Misconfigured(f"'{source}' returned {type(made).__name__}, which has no predict(matrix)")
        self._predict: Callable[[NDArray[np.float32]], object] = predict
        self._source = source
        self.version = str(getattr(made, "version", source))
        self.device = str(getattr(made, "device", "cpu"))

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the author's object says, as float64[n]."""
        scores = np.asarray(self._predict(matrix), dtype=np.float64)
        if scores.shape != (len(matrix),):
            raise Misconfigured(f"'{self._source}' returned scores of shape {scores.shape} for {len(matrix)} events")
        return scores
