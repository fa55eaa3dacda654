"""Members measured where they serve: behind Ray Serve's handles, one replica, one call after the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from guidevane.combiners import WeightedMean
from guidevane.ensemble import Ensemble
from guidevane.errors import GuidevaneError
from guidevane.profiling.measured import Curve, Deployed, Point, Untried
from guidevane.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.ensemble import Member
    from guidevane.pipeline import Pipeline
    from guidevane.services.inference.members import Vectors

    Progress = Callable[[str, float | None], None]

_WARM_CALLS = 5
_LEAST_CALLS = 30
_DEPLOYED_WITHIN_S = 180.0
_WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "cpu": {"device": "cpu"},
    "cpu-bfloat16": {"device": "cpu", "autocast": "bfloat16"},
    "cpu-compile": {"device": "cpu", "compile": True},
    "cuda": {"device": "cuda", "num_gpus": 1.0},
    "cuda-bfloat16": {"device": "cuda", "num_gpus": 1.0, "autocast": "bfloat16"},
    "cuda-float16": {"device": "cuda", "num_gpus": 1.0, "autocast": "float16"},
    "cuda-compile": {"device": "cuda", "num_gpus": 1.0, "compile": True},
}
"""Other ways to compute a torch model."""


class Measuring:
    """Deploys members one deployment at a time, in an application of their own, and calls them.

    The process must have joined a Ray cluster (``deployment.connect``).
    """

    def __init__(
        self, pipeline: Pipeline, vectors: Vectors, *, batches: Sequence[int], seconds: float, clock: Clock,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.vectors = vectors
        self.batches = batches
        self.seconds = seconds
        self.clock = clock
        self.progress = progress

    async def measure(self, name: str, members: Sequence[Member], *, variants: bool) -> Deployed:
        """Return the curve of members that share a deployment, as declared; with ``variants``, others behind it.

        Raises what deploying them as declared raised.
        """
        from guidevane.services.inference import deployment  # noqa: PLC0415 - Ray takes five seconds

        declared = await self._curve(name, members)
        curves, untried = [declared], []
        for kind in _WAYS if variants else ():
            if kind == declared.kind:
                continue
            why = _why_not(self.pipeline, members, kind, gpus=await deployment.gpus() > 0)
            if why is None:
                other = [replace(each, **_WAYS[kind]) if _is_torch(self.pipeline, each) else each for each in members]
                try:
                    curves.append(await self._curve(name, other, kind))
                except (GuidevaneError, RuntimeError, TimeoutError) as failed:
                    why = f"{type(failed).__name__}: {failed!s:.200}"
            if why is not None:
                untried.append(Untried(kind, why))
        return Deployed(name, tuple(curves), tuple(untried))

    async def _curve(self, name: str, members: Sequence[Member], kind: str | None = None) -> Curve:
        # Imported here: Ray takes five seconds, and reads its environment then.
        from guidevane.services.inference import deployment  # noqa: PLC0415

        app = f"{self.pipeline.name}-profile-{name}"
        alone = replace(
            self.pipeline, name=app, ensemble=Ensemble(tuple(members), combine=WeightedMean(), quorum=1), monitors=()
        )
        self.progress(f"{name}: starting {kind or 'as declared'}", None)
        started_s = self.clock.monotonic_s()
        try:
            deploying = asyncio.create_task(deployment.deploy(alone))
            await asyncio.wait({deploying}, timeout=_DEPLOYED_WITHIN_S)
            if not deploying.done():
                raise TimeoutError(f"not ready after {_DEPLOYED_WITHIN_S:.0f} s")
            await deploying
            served = deployment.ServedMembers(alone)
            names = tuple(each.name for each in members)
            await self._call(served, names, 1)
            startup_s = self.clock.monotonic_s() - started_s
            here = await deployment.describe(app, name)
            way = kind or _kind(members, here["devices"])
            points = []
            for done, batch in enumerate(self.batches):
                self.progress(f"{name}: {way}, batches of {batch}", done / len(self.batches))
                points.append(await self._point(served, names, batch))
            self.progress(f"{name}: {way}, {len(points)} batch sizes", 1.0)
            return Curve(way, names, tuple(points), startup_s)
        finally:
            await deployment.remove(app)

    async def _point(self, served: Any, names: Sequence[str], batch: int) -> Point:
        for _ in range(_WARM_CALLS):
            await self._call(served, names, batch)
        service_s: list[float] = []
        call_s: list[float] = []
        until_s = self.clock.monotonic_s() + self.seconds
        while len(call_s) < _LEAST_CALLS or self.clock.monotonic_s() < until_s:
            busy_s, took_s = await self._call(served, names, batch)
            service_s.append(busy_s)
            call_s.append(took_s)
        return Point.of(batch, service_s, call_s)

    async def _call(self, served: Any, names: Sequence[str], batch: int) -> tuple[float, float]:
        """Ask all at once about a batch, as the room does; return what they computed together, and how long it took."""
        matrix = np.resize(self.vectors, (batch, self.vectors.shape[1]))
        started_s = self.clock.monotonic_s()
        answers = await asyncio.gather(*(served.ask(name, matrix) for name in names))
        return sum(each.busy_s for each in answers), self.clock.monotonic_s() - started_s


def _kind(members: Sequence[Member], devices: Mapping[str, str]) -> str:
    """Return how members compute as they are declared."""
    device = "cuda" if "cuda" in devices.values() else "cpu"
    autocast = next((each.autocast for each in members if each.autocast), None)
    compiled = any(each.compile for each in members)
    return "-".join(filter(None, [device, autocast, "compile" if compiled else None]))


def _is_torch(pipeline: Pipeline, member: Member) -> bool:
    if not member.model.startswith("models:") or pipeline.models is None:
        return False
    return Registry(pipeline.models).resolve(member.model).manifest.framework == "torch"


def _why_not(pipeline: Pipeline, members: Sequence[Member], kind: str, *, gpus: bool) -> str | None:
    """Return why a way to compute need not be tried; ``None`` where it may work."""
    if not any(_is_torch(pipeline, each) for each in members):
        return "device, autocast and compile mean something to torch models of the registry, and this is none"
    if kind.startswith("cuda") and not gpus:
        return "no GPU is known to this Ray"
    return None
