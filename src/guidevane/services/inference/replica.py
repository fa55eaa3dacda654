"""What runs in a replica: one member, or several that share it. Nothing here knows of Ray."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from guidevane.errors import Misconfigured
from guidevane.registry import Growing, Registry, Tiled, load
from guidevane.runtime import heap
from guidevane.runtime.garbage import freeze
from guidevane.services.inference.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.ensemble import Autocast, Device
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.members import Scores, Vectors


_PROTOCOL = 2
"""Counts up with :meth:`MemberReplica.predict`: a room of one version must not go on with replicas of another."""


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """What a replica needs to know, as plain data: it must not import the author's pipeline to score."""

    name: str
    model: str
    models: str
    places: tuple[int, ...]
    tile: int
    device: Device
    autocast: Autocast | None
    compile: bool
    num_gpus: float
    num_cpus: float
    warm_up: tuple[int, ...]
    stuck_after_s: float


def identity_of(specs: Sequence[MemberSpec]) -> str:
    """Return a name of a replica that changes with everything that could change an answer, and how it is asked."""
    text = json.dumps([_PROTOCOL, *(asdict(spec) for spec in specs)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def specs(pipeline: Pipeline) -> dict[str, list[MemberSpec]]:
    """Return the members' specs by deployment, aliases resolved to versions. Raises ``Misconfigured``."""
    by_name = {spec.name: spec for spec in _specs(pipeline)}
    return {host: [by_name[name] for name in names] for host, names in pipeline.ensemble.deployments.items()}


def _specs(pipeline: Pipeline) -> list[MemberSpec]:
    registry = Registry(pipeline.models) if pipeline.models is not None else None
    reserved = {member.name: member.num_gpus for member in pipeline.ensemble.deployed}
    found = []
    for member in pipeline.ensemble.deployed:
        model = member.model
        if model.startswith("models:"):
            if registry is None:
                raise Misconfigured(f"member {member.name} looks up {model}, but {pipeline.name} has no models folder")
            version = registry.resolve(model)
            model = f"models:/{version.name}/{version.version}"
        found.append(
            MemberSpec(
                member.name, model, str(pipeline.models or ""),
                tuple(int(place) for place in pipeline.vector.places(member.inputs)),
                member.tile, member.device, member.autocast, member.compile,
                reserved[member.beside or member.name], member.num_cpus, member.warm_up, member.stuck_after_s,
            )
        )  # fmt: skip
    return found


class Said(NamedTuple):
    """What one member of a replica said: float64[n] scores, or why there are none.

    ``busy_s`` is how long it computed.
    """

    scores: Scores | None
    version: str
    busy_s: float
    failed: str = ""


class MemberReplica:
    """One replica: loads its members, warms them up, scores."""

    def __init__(self, specs: Sequence[Mapping[str, Any]], others: tuple[Any, ...] = ()) -> None:
        # ``others`` are the handles of the other deployments: Serve deploys what its root is bound to.
        del others
        self.specs = [MemberSpec(**spec) for spec in specs]
        self.members = {spec.name: _load(spec) for spec in self.specs}
        freeze()
        heap.keep()

    async def predict(self, matrix: Vectors, names: Sequence[str], *, pressed: bool = False) -> list[Said]:
        """Return what the members named say of the ensemble's whole matrix float32[n, width], one after the other.

        ``pressed`` says that events go without members meanwhile: what is not asked for waits.
        """
        return [self.members[name].say(matrix, pressed=pressed) for name in names]

    async def describe(self) -> dict[str, Any]:
        """Return which specs run here, and on what."""
        return {
            "identity": identity_of(self.specs),
            "pid": os.getpid(),
            "versions": {name: each.predictor.version for name, each in self.members.items()},
            "devices": {name: each.predictor.device for name, each in self.members.items()},
        }


class _Loaded:
    """One member, ready."""

    def __init__(self, spec: MemberSpec) -> None:
        stored = spec.model.startswith("models:")
        source = Registry(Path(spec.models)).resolve(spec.model) if stored else spec.model
        device = spec.device
        if spec.num_gpus and not _gpu():
            says = "%s declares a GPU, none is here: it runs on the CPU"
            logging.getLogger("ray.serve").warning(says, spec.name)
            device = "cpu"
        self.name = spec.name
        self.predictor = load(source, device=device, autocast=spec.autocast, compiled=spec.compile)
        # Each shape would be compiled anew.
        self.tiled = Tiled(self.predictor, spec.tile) if spec.compile else Growing(self.predictor, spec.tile)
        self.places = np.array(spec.places, dtype=np.intp)
        for rows in spec.warm_up:
            self.tiled.predict(np.zeros((rows, len(self.places)), dtype=np.float32))
        self.watchdog = Watchdog(spec.stuck_after_s)

    def say(self, matrix: Vectors, *, pressed: bool = False) -> Said:
        started = time.perf_counter()
        if isinstance(self.tiled, Growing):
            self.tiled.spare.pressed = pressed
        try:
            with self.watchdog:
                scores = self.tiled.predict(np.ascontiguousarray(matrix[:, self.places]))
        except Exception as raised:  # noqa: BLE001 - an author's model may raise anything
            # Told, not raised: another member's answer travels beside it.
            return Said(None, self.predictor.version, time.perf_counter() - started, f"{self.name}: {raised!r:.200}")
        return Said(scores, self.predictor.version, time.perf_counter() - started)


def _load(spec: MemberSpec) -> _Loaded:
    try:
        return _Loaded(spec)
    except Exception as broken:
        # Serve tells no more of a constructor than what it raised: it names the member, and what a person must mend.
        raise Misconfigured(f"member {spec.name} cannot be loaded: {broken!r:.500}") from broken


def _gpu() -> bool:
    import torch  # noqa: PLC0415 - only a member with a GPU asks

    return bool(torch.cuda.is_available())
