"""How good scores are, and how members are weighed against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from guidevane import Stacking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def stack(names: Sequence[str], scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> Stacking:
    """Fit logistic regression over the members' logits: float64[m, n] scores, bool[n] truth."""
    bounded = np.clip(scores, 1e-6, 1 - 1e-6)
    fitted = LogisticRegression(C=1.0).fit((np.log(bounded) - np.log1p(-bounded)).T, truth)
    # Four places are more than the sample knows, and can be read in the pipeline.
    weights = {name: round(float(weight), 4) for name, weight in zip(names, fitted.coef_[0], strict=True)}
    return Stacking(weights=weights, bias=round(float(fitted.intercept_[0]), 4))


def measure(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Return log-loss, accuracy, area under the curve, and calibration error of float64[n] scores."""
    found = {
        "log_loss": log_loss(truth, scores),
        "accuracy": accuracy_score(truth, scores >= 0.5),  # noqa: PLR2004 - where the pipeline decides
        "auc": roc_auc_score(truth, scores),
        "calibration_error": calibration_error(scores, truth),
    }
    return {name: round(float(value), 5) for name, value in found.items()}


def calibration_error(scores: NDArray[np.float64], truth: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width (Naeini et al., 2015), 0 to 1.

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, True]))
    0.1
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    surplus = np.bincount(place, weights=scores - truth, minlength=bins)
    return round(float(np.abs(surplus).sum() / len(scores)), 9)
