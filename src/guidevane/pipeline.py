"""The pipeline: one value that names everything the platform must know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from guidevane.decision import Threshold
from guidevane.ensemble import Ensemble
from guidevane.event import Event
from guidevane.features import FeatureSet
from guidevane.slo import Latency
from guidevane.topics import DEFAULT_PARTITIONS, Topics
from guidevane.word import Mistake, nearest, word

Mode = Literal["effective", "transactional"]
"""How outcomes become visible: at once, where the first counts; or in Kafka transactions, where there is no second."""


@word
class Pipeline:
    """From events to decisions: what comes in, what is computed, who is asked, what is decided, how fast, who watches.

    ``features`` run in order over the columns of a micro-batch. ``models`` is the folder that
    ``models:/NAME@ALIAS`` is looked up in. ``partitions`` holds for every topic of the pipeline;
    numbers with many divisors (12, 24, 48, 60) leave the controller free to choose consumers.
    ``delivery`` is ``effective``, or ``transactional``: outcomes, dead letters and offsets are then seen
    together or never by readers of committed records, at the price of some latency (``docs/decisions/0005``).
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    event: Event
    features: Annotated[Sequence[Any], Field(min_length=1), AfterValidator(tuple)]
    ensemble: Ensemble
    decision: Threshold = Threshold()
    slo: Latency = Latency()
    monitors: Annotated[Sequence[Any], AfterValidator(tuple)] = ()
    models: Path | None = None
    partitions: Annotated[int, Field(ge=1, le=1000)] = DEFAULT_PARTITIONS
    delivery: Mode = "effective"

    @cached_property
    def topics(self) -> Topics:
        """The pipeline's topics."""
        return Topics(self.name)

    @cached_property
    def vector(self) -> FeatureSet:
        """The features as one: from columns to the matrix that members see."""
        return FeatureSet(tuple(self.features))

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of names that do not meet: between event, features, members and monitors."""
        yield from self._features()
        encoders = tuple(self.vector.slices) if not list(self.vector.mistakes()) else ()
        for index, member in enumerate(self.ensemble.members):
            if encoders:
                for wrong in member.mistakes_against(encoders):
                    yield wrong.under(f"ensemble.members[{index}]")
            if member.model.startswith("models:") and self.models is None:
                yield Mistake(
                    f"ensemble.members[{index}].model", "looks a model up, but the pipeline has no models folder",
                    "write models=Path(__file__).parent / 'models'",
                )  # fmt: skip
        for index, monitor in enumerate(self.monitors):
            against = getattr(monitor, "mistakes_against", None)
            if against is None:
                yield Mistake(f"monitors[{index}]", f"{monitor!r:.60} is no monitor", "see guidevane.monitors")
            else:
                yield from (wrong.under(f"monitors[{index}]") for wrong in against(self))

    def _features(self) -> Iterator[Mistake]:
        yield from self.vector.mistakes()
        known = set(self.event.fields)
        for index, feature in enumerate(self.features):
            if not callable(feature) or not hasattr(feature, "reads"):
                yield Mistake(f"features[{index}]", f"{feature!r:.60} is no feature", "see guidevane.features")
                continue
            for name in feature.reads:
                if name not in known:
                    yield Mistake(
                        f"features[{index}].field", f"there is no field '{name}'", nearest(name, sorted(known))
                    )
                if name in self.event.protected:
                    yield Mistake(
                        f"features[{index}].field", f"'{name}' is declared protected: no model may see it",
                        "remove the feature, or the declaration",
                    )  # fmt: skip
            known |= set(feature.writes)
