"""What the examples' training programs share: trained members become versions, and are weighed and measured."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import torch

from guidevane.pipelines.scoring import measure, stack
from guidevane.registry import Manifest, Registry, Tiled, load
from guidevane.registry.manifest import digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from guidevane.pipeline import Pipeline

_FILES = {"torch": "model.safetensors", "xgboost": "model.ubj", "river": "model.json"}
_LIBRARIES = {"torch": "torch", "xgboost": "xgboost-cpu", "river": "river"}


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a pipeline's events, encoded, and what became of them: float32[n, width] and bool[n]."""

    pipeline: Pipeline
    matrix: NDArray[np.float32]
    truth: NDArray[np.bool_]

    def of(self, member: str) -> NDArray[np.float32]:
        """Return the columns that a member reads."""
        (inputs,) = (each.inputs for each in self.pipeline.ensemble.members if each.name == member)
        return np.ascontiguousarray(self.matrix[:, self.pipeline.vector.places(inputs)])


@dataclass(frozen=True, slots=True)
class Training:
    """One run: which version of which pipeline's members it makes, from which seed, and where they go."""

    pipeline: Pipeline
    out: Path
    version: str
    seed: int

    @staticmethod
    def settle() -> None:
        """One thread and nothing random: on one machine type the same data give the same bytes."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(mode=True)

    def publish(self, member: str, weights: bytes, **about: Any) -> None:
        """Write one member down as a version, and point ``champion`` at it. ``about`` goes into its manifest."""
        name, framework = f"{self.pipeline.name}-{member}", about["framework"]
        (inputs,) = (each.inputs for each in self.pipeline.ensemble.members if each.name == member)
        manifest = Manifest(
            name=name,
            version=self.version,
            files={_FILES[framework]: digest(weights)},
            inputs=inputs or tuple(self.pipeline.vector.slices),
            feature_set=self.pipeline.vector.identity,
            libraries={each: importlib.metadata.version(each) for each in ("numpy", _LIBRARIES[framework])},
            seed=self.seed,
            **about,
        )
        registry = Registry(self.out)
        registry.publish(manifest, {_FILES[framework]: weights})
        registry.point(name, "champion", self.version)

    def scores(self, part: Part) -> NDArray[np.float64]:
        """Return float64[members, n], by the very code that serves."""
        found = []
        for member in self.pipeline.ensemble.members:
            stored = Registry(self.out).resolve(f"models:/{self.pipeline.name}-{member.name}/{self.version}")
            found.append(Tiled(load(stored, device="cpu"), member.tile).predict(part.of(member.name)))
        return np.stack(found)

    def conclude(self, weigh: Part, later: Part, **more: object) -> dict[str, Any]:
        """Weigh the members on one part, measure them and their ensemble on a later one; write both down.

        The measures go into the manifests, all of it and ``more`` into ``ensemble.json``, which is returned.
        """
        names = self.pipeline.ensemble.names
        fitted = stack(names, self.scores(weigh), weigh.truth)
        scores = self.scores(later)
        joined = replace(self.pipeline.ensemble, combine=fitted).join(scores, np.ones(scores.shape, dtype=np.bool_))
        metrics = {
            name: measure(each, later.truth) for name, each in zip([*names, "ensemble"], [*scores, joined], strict=True)
        }
        for name in names:
            self._note(name, metrics[name])
        found = {"weights": fitted.weights, "bias": fitted.bias, "metrics": metrics, **more}
        text = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (self.out / "ensemble.json").write_bytes(text)
        return found

    def _note(self, member: str, metrics: dict[str, float]) -> None:
        """Write into a version's manifest how good it is; its bytes stay as they are."""
        registry = Registry(self.out)
        found = registry.resolve(f"models:/{self.pipeline.name}-{member}/{self.version}")
        files = {file: found.read(file) for file in found.manifest.files}
        registry.publish(found.manifest.model_copy(update={"metrics": metrics}), files)
