"""What answers for a member, and the one door through which every kind of model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from guidevane.ensemble import Autocast, Device, Factory, reference
from guidevane.errors import Misconfigured
from guidevane.registry.factory import Made, attribute

if TYPE_CHECKING:
    from guidevane.registry.store import ModelVersion

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]


class Predictor(Protocol):
    """A loaded model: ``predict`` has no memory and no randomness."""

    @property
    def version(self) -> str:
        """Which model answers; it stands in every prediction."""
        ...

    @property
    def device(self) -> str:
        """Where it runs: ``cpu`` or ``cuda``."""
        ...

    def predict(self, matrix: Vectors) -> Scores:
        """Return float64[n] probabilities for float32[n, d] vectors."""
        ...


def load(
    source: ModelVersion | str, *, device: Device = "auto", autocast: Autocast | None = None, compiled: bool = False
) -> Predictor:
    """Load a version of the registry, or call an author's ``module:factory``.

    The hash of every file is checked before its bytes are parsed. ``device``, ``autocast`` and ``compiled`` mean
    something to torch models only. Raises ``Misconfigured`` where the model does not load, or its framework is not
    installed.
    """
    if isinstance(source, str):
        wanted = reference(source)
        if not isinstance(wanted, Factory):
            raise Misconfigured(f"'{source}' is a model of a registry → Registry(root).resolve('{source}')")
        return Made(attribute(wanted.module, wanted.attribute)(), source)
    try:
        match source.manifest.framework:
            case "torch":
                from guidevane.registry.pytorch import TorchPredictor  # noqa: PLC0415 - torch takes seconds

                return TorchPredictor(source, device=device, autocast=autocast, compiled=compiled)
            case "xgboost":
                from guidevane.registry.boosted import BoostedPredictor  # noqa: PLC0415 - likewise

                return BoostedPredictor(source)
            case "river":
                from guidevane.registry.linear import LinearPredictor  # noqa: PLC0415 - likewise

                return LinearPredictor(source)
            case unknown:
                assert_never(unknown)
    except ImportError as missing:
        raise Misconfigured(f"{source.path}: {missing} → pip install 'guidevane[inference]'") from missing
