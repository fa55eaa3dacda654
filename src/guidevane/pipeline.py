"""The pipeline: one value that names everything the platform must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

import numpy as np
from pydantic import AfterValidator, Field

from guidevane.decision import Threshold
from guidevane.ensemble import Ensemble
from guidevane.event import Event
from guidevane.features import KEY, TIME, Columns, Feature, FeatureSet, Fill, Window, columns_of, numbers
from guidevane.monitors.monitor import named_twice
from guidevane.slo import Degrade, Latency
from guidevane.topics import DEFAULT_PARTITIONS, Topics, TopicSpec
from guidevane.word import Mistake, nearest, word

Mode = Literal["effective", "transactional"]
"""How outcomes become visible: at once, where the first counts; or in Kafka transactions, where there is no second."""


@word
class Pipeline:
    """From events to decisions: what comes in, what is computed, who is asked, what is decided, how fast, who watches.

    ``features`` run in order over the columns of a micro-batch. ``models`` is the folder that
    ``models:/NAME@ALIAS`` is looked up in. ``partitions`` holds for every topic of the pipeline;
    numbers with many divisors (12, 24, 48, 60) leave the controller free to choose consumers.
    ``degrade`` says what gives where the objective cannot be kept.
    ``delivery`` is ``effective``, or ``transactional``: outcomes, dead letters and offsets are then seen
    together or never by readers of committed records, at the price of some latency (``docs/decisions/0005``).
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    event: Event
    features: Annotated[Sequence[Any], Field(min_length=1), AfterValidator(tuple)]
    ensemble: Ensemble
    decision: Threshold = Threshold()
    slo: Latency = Latency()
    degrade: Degrade = Degrade()
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

    @cached_property
    def windows_topic(self) -> str | None:
        """Where what its windows hold is kept; another one for other windows, and ``None`` where it has none."""
        return self.topics.windows(FeatureSet(self.vector.windows).identity) if self.vector.windows else None

    def specs(self) -> list[TopicSpec]:
        """Return every topic that it needs."""
        return self.topics.specs(self.partitions, windows=self.windows_topic)

    def columns(self, events: Sequence[Mapping[str, Any]]) -> Columns:
        """Return the columns that ``vector.matrix`` reads, of events in the order in which they came.

        They are as the topics hold them: a field that is not there has the contract's default, one of 32 bits is
        rounded to them (numbers within arrays, maps and records are not).
        """
        defaults = {field["name"]: field["default"] for field in self.event.parsed["fields"] if "default" in field}
        events = [{**defaults, **each} for each in events]
        found = columns_of(events, [name for name in self.vector.reads if name not in {KEY, TIME}])
        for name in found:
            if self.event.kinds(name) == {"float"}:
                found[name] = numbers(found[name]).astype(np.float32).astype(np.float64)
        if self.vector.windows:
            times = [self.event.time_us(each) for each in events]
            found[KEY] = np.array([str(each[self.event.key]) for each in events], dtype=object)
            found[TIME] = np.array([np.nan if time is None else time for time in times], dtype=np.float64)
        return found

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of names that do not meet: between event, features, members and monitors."""
        yield from self._features()
        encoders: tuple[str, ...] = ()
        if all(map(_is_feature, self.features)):
            told = list(self.vector.mistakes())
            yield from told
            encoders = () if told else tuple(self.vector.slices)
        for index, member in enumerate(self.ensemble.deployed):
            path = f"ensemble.members[{index}]" if index < len(self.ensemble.members) else "ensemble.variant"
            if encoders:
                for wrong in member.mistakes_against(encoders):
                    yield wrong.under(path)
            if member.model.startswith("models:") and self.models is None:
                yield Mistake(
                    f"{path}.model", "looks a model up, but the pipeline has no models folder",
                    "write models=Path(__file__).parent / 'models'",
                )  # fmt: skip
        for index, monitor in enumerate(self.monitors):
            against = getattr(monitor, "mistakes_against", None)
            if against is None:
                yield Mistake(f"monitors[{index}]", f"{monitor!r:.60} is no monitor", "see guidevane.monitors")
            else:
                yield from (wrong.under(f"monitors[{index}]") for wrong in against(self))
        yield from named_twice([each for each in self.monitors if hasattr(each, "mistakes_against")])

    def _features(self) -> Iterator[Mistake]:
        known = {*self.event.fields, KEY, TIME}
        as_it_came = set(self.event.fields)
        for index, feature in enumerate(self.features):
            if not _is_feature(feature):
                yield Mistake(f"features[{index}]", f"{feature!r:.60} is no feature", "see guidevane.features")
                continue
            for name in feature.reads:
                if name not in known:
                    yield Mistake(
                        f"features[{index}].field",
                        f"there is no field '{name}'",
                        nearest(name, sorted(known - {KEY, TIME})),
                    )
                if name in self.event.protected:
                    yield Mistake(
                        f"features[{index}].field", f"'{name}' is declared protected: no model may see it",
                        "remove the feature, or the declaration",
                    )  # fmt: skip
            if isinstance(feature, Window):
                yield from (wrong.under(f"features[{index}]") for wrong in self._window(feature))
            against = getattr(feature, "mistakes_against", None)
            if against is not None and getattr(feature, "field", None) in as_it_came:
                yield from (wrong.under(f"features[{index}]") for wrong in against(self.event))
            known |= set(feature.writes)
            if not isinstance(feature, Fill):
                # What another feature made of a field may be of any type.
                as_it_came -= set(feature.writes)

    def _window(self, window: Window) -> Iterator[Mistake]:
        if window.time == TIME and self.event.time is None:
            yield Mistake("at", "windows go by event time, and the events have none", "write Event(..., time=...)")
        elif window.at in self.event.fields and not self.event.in_microseconds(window.at):
            yield Mistake("at", f"field '{window.at}' must be a long: microseconds since the epoch")


def _is_feature(given: Any) -> TypeGuard[Feature]:
    # The class of a feature has all that a feature has, but no field yet.
    return not isinstance(given, type) and callable(given) and hasattr(given, "reads")
