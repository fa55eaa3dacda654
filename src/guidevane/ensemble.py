"""The ensemble: who is asked, on which replicas, and how many must answer; ``combiners`` make one score of theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field

from guidevane.combiners import Combiner, Stacking, WeightedMean
from guidevane.errors import Misconfigured
from guidevane.word import Mistake, nearest, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guidevane.combiners import Present, Scores

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Autocast: TypeAlias = Literal["bfloat16", "float16"]

_STORED = re.compile(r"models:/(?P<name>[\w.-]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[\w.-]+))")
_FACTORY = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Stored:
    """A model of the registry, by alias or by version."""

    name: str
    alias: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Factory:
    """An author's own function, without arguments, that returns an object with ``predict``."""

    module: str
    attribute: str


def reference(text: str) -> Stored | Factory:
    """Read what a member's ``model`` says. Raises ``Misconfigured`` where it says neither.

    >>> reference("models:/churn-wide@champion")
    Stored(name='churn-wide', alias='champion', version=None)
    >>> reference("models:/churn-wide/7").version, reference("churn.models:make")
    ('7', Factory(module='churn.models', attribute='make'))
    """
    if stored := _STORED.fullmatch(text):
        return Stored(**stored.groupdict())
    if factory := _FACTORY.fullmatch(text):
        return Factory(**factory.groupdict())
    raise Misconfigured(f"'{text}' names no model → write models:/NAME@ALIAS, models:/NAME/VERSION or module:factory")


@word
class Member:
    """One model of the ensemble, and what it needs to run.

    ``inputs`` names the encoders that it reads, in order; ``None`` means the whole vector. Batches are padded to whole
    tiles of ``tile`` rows, which makes scores independent of batching. ``deadline_share`` is the most of an event's
    remaining time that may be spent waiting for this member, 0 to 1. ``warm_up`` are the batch sizes it
    must have answered before it counts as ready. After ``stuck_after_s`` on one call it counts as hung: its replica is
    replaced, and the event that caused it becomes a dead letter. ``beside`` names a member whose replicas this one
    shares, with the CPUs and GPUs that they reserve: a call costs as much as a small model, and so there is one for
    both. They scale together, and what ends one ends the other. ``compile`` has torch compile the model (inductor: some
    ten seconds at start, other last bits). Under overload, who adds the least ``accuracy`` (any
    score that grows with it) per millisecond is left out first; the slowest, where none is declared.

    >>> Member("wide", "models:/employment-wide@champion").tile
    64
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    model: str
    inputs: tuple[str, ...] | None = None
    tile: Annotated[int, Field(ge=1)] = 64
    deadline_share: Annotated[float, Field(gt=0, le=1)] | None = None
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    num_cpus: Annotated[float, Field(gt=0)] = 1.0
    device: Device = "auto"
    autocast: Autocast | None = None
    warm_up: tuple[Annotated[int, Field(ge=1)], ...] = (1, 64)
    stuck_after_s: Annotated[float, Field(gt=0)] = 5.0
    beside: str | None = None
    compile: bool = False
    accuracy: Annotated[float, Field(gt=0)] | None = None

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of a model that no registry can hold, and of a GPU that nobody reserved."""
        try:
            reference(self.model)
        except Misconfigured as wrong:
            yield Mistake("model", str(wrong))
        if self.inputs is not None and not self.inputs:
            yield Mistake("inputs", "is empty", "name encoders, or write None for the whole vector")
        for name in sorted({name for name in self.inputs or () if self.inputs and self.inputs.count(name) > 1}):
            yield Mistake("inputs", f"'{name}' is there twice", "remove one")
        if self.beside is not None and self.num_gpus:
            yield Mistake("num_gpus", f"is reserved by '{self.beside}', in whose replicas it runs", "write it there")
        elif self.device == "cuda" and not self.num_gpus and self.beside is None:
            yield Mistake("num_gpus", "is 0 for a member on 'cuda'", "reserve a share, e.g. num_gpus=0.25")

    def mistakes_against(self, encoders: Sequence[str]) -> Iterator[Mistake]:
        """Tell of each input that no encoder of the pipeline makes."""
        for index, name in enumerate(self.inputs or ()):
            if name not in encoders:
                yield Mistake(f"inputs[{index}]", f"there is no encoder '{name}'", nearest(name, encoders))


@word
class Ensemble:
    """Members, and how their answers become one score.

    ``quorum`` is how many must have answered for the score to count. ``late`` says what becomes of an answer that
    comes after the event had to be decided: it is ignored (and counted). ``poison`` says what becomes of an event that
    breaks a member which is otherwise well (it raises, says NaN, hangs or dies): "dead_letter" sets it aside, for
    nobody knows what the others would have to make of it; "degrade" decides it by them. What breaks all is always set
    aside; a member that breaks on everything is broken, and degrades decisions. ``variant`` is a cheap stand-in for
    all, asked alone where there is no time for a quorum (see ``Degrade``).

    >>> ensemble = Ensemble([Member("a", "models:/a@champion"), Member("b", "models:/b@champion")], quorum=2)
    >>> ensemble.join(np.array([[0.2, 0.2], [0.4, 0.4]]), np.array([[True, True], [True, False]])).round(6).tolist()
    [0.3, nan]
    """

    members: Annotated[Sequence[Member], Field(min_length=1), AfterValidator(tuple)]
    combine: Combiner = WeightedMean()
    quorum: Annotated[int, Field(ge=1)] = 1
    late: Literal["ignore"] = "ignore"
    poison: Literal["dead_letter", "degrade"] = "dead_letter"
    variant: Member | None = None

    @cached_property
    def deployed(self) -> tuple[Member, ...]:
        """All that must run: the members, in order, and the variant behind them."""
        return (*self.members, *filter(None, [self.variant]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The members' names, in order."""
        return tuple(member.name for member in self.members)

    @cached_property
    def deployments(self) -> Mapping[str, tuple[str, ...]]:
        """Who runs together: by the member whose replicas they are, it and those beside it.

        >>> Ensemble([Member("a", "m:a", beside="b"), Member("b", "m:b"), Member("c", "m:c")]).deployments
        {'b': ('b', 'a'), 'c': ('c',)}
        """
        hosts = [member.name for member in self.deployed if member.beside is None]
        return {host: (host, *(m.name for m in self.deployed if m.beside == host)) for host in hosts}

    def join(self, scores: Scores, present: Present) -> Scores:
        """Return float64[n] of float64[m, n] scores and bool[m, n] presence; NaN where fewer than ``quorum`` answered.

        A score that is no number counts as no answer. Rows are in the order of ``members``.
        """
        here = present & np.isfinite(scores)
        joined = np.asarray(self._bound(scores, here), dtype=np.float64)
        return np.where(here.sum(axis=0) >= self.quorum, joined, np.nan)

    @cached_property
    def _bound(self) -> Combiner:
        weights = getattr(self.combine, "weights", None)
        if isinstance(self.combine, (WeightedMean, Stacking)) and isinstance(weights, dict):
            return replace(self.combine, weights=tuple(weights.get(name, 0.0) for name in self.names))
        return self.combine

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of names given twice, replicas that are nobody's, a quorum out of reach, and weights of others."""
        for index, name in enumerate(self.names):
            if name and name in self.names[:index]:
                yield Mistake(f"members[{index}].name", f"'{name}' is there twice", "give each member its own name")
        yield from self._beside()
        if self.variant is not None and self.variant.name in self.names:
            yield Mistake("variant.name", f"'{self.variant.name}' is a member's", "give the variant its own name")
        if self.quorum > len(self.members):
            yield Mistake("quorum", f"is {self.quorum}, of {len(self.members)} members", f"1 to {len(self.members)}")
        weights = getattr(self.combine, "weights", None)
        if isinstance(weights, dict):
            for name in weights:
                if name not in self.names:
                    yield Mistake("combine.weights", f"there is no member '{name}'", nearest(name, self.names))
            for name in dict.fromkeys(self.names):
                if name and name not in weights:
                    yield Mistake("combine.weights", f"says nothing of member '{name}'", "write 0 to leave it out")
        elif isinstance(weights, tuple) and len(weights) != len(self.members):
            yield Mistake("combine.weights", f"are {len(weights)} for {len(self.members)} members", "one a member")

    def _beside(self) -> Iterator[Mistake]:
        hosts = tuple(member.name for member in self.members if member.beside is None)
        for index, member in enumerate(self.deployed):
            if member.beside is not None and member.beside not in hosts:
                told = "is itself beside another" if member.beside in self.names else "is no member"
                path = f"members[{index}]" if index < len(self.members) else "variant"
                yield Mistake(f"{path}.beside", f"'{member.beside}' {told}", nearest(member.beside, hosts))
