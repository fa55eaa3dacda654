"""Torch models: a module that the manifest names, filled with safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch

from guidevane.ensemble import Autocast, Device, Factory, reference
from guidevane.errors import Misconfigured
from guidevane.registry.factory import attribute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.registry.store import ModelVersion

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchPredictor:
    """A module in evaluation, which turns float32[n, d] into logits [n]; probabilities are computed in float64.

    Runs on one CPU thread: replicas are how a member grows, and the number of threads changes the last bits.
    """

    def __init__(
        self, source: ModelVersion, *, device: Device, autocast: Autocast | None, compiled: bool = False
    ) -> None:
        """Build, fill and move the module. Raises ``Misconfigured`` where module and weights do not fit."""
        torch.set_num_threads(1)
        if device == "cuda" and not torch.cuda.is_available():
            raise Misconfigured(f"{source.path}: there is no CUDA device → write device='auto' or 'cpu'")
        self.version = source.version
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self._dtype = _DTYPES[autocast] if autocast else None
        module = _module(source)
        try:
            module.load_state_dict(safetensors.torch.load(source.read(".safetensors")))
        except (RuntimeError, safetensors.SafetensorError) as wrong:
            raise Misconfigured(f"{source.path}: the weights do not fit {source.manifest.factory}: {wrong}") from wrong
        self._module = module.to(self.device).eval()
        if compiled:
            # When it is first called: replicas warm up before they count as ready.
            self._module.compile()

    @torch.inference_mode()
    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n] probabilities."""
        rows = torch.from_numpy(np.ascontiguousarray(matrix)).to(self.device)
        with torch.autocast(self.device, dtype=self._dtype, enabled=self._dtype is not None):
            logits = self._module(rows)
        scores: NDArray[np.float64] = torch.sigmoid(logits.double()).cpu().numpy()
        return scores


def _module(source: ModelVersion) -> torch.nn.Module:
    wanted = reference(str(source.manifest.factory))
    if not isinstance(wanted, Factory):
        raise Misconfigured(f"{source.path}: the manifest's factory is '{source.manifest.factory}', not module:Class")
    made = attribute(wanted.module, wanted.attribute)
    # A manifest is data: it may name a network, never just any function with arguments of its choice.
    if not (isinstance(made, type) and issubclass(made, torch.nn.Module)):
        raise Misconfigured(f"{source.path}: '{source.manifest.factory}' is no torch.nn.Module")
    try:
        return made(**source.manifest.kwargs)
    except TypeError as wrong:
        raise Misconfigured(f"{source.path}: {source.manifest.factory}: {wrong}") from wrong
