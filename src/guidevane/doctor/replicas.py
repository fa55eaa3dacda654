"""Whether partitions have a leader and enough replicas in sync, and what one more broker away would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.doctor.check import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from guidevane.log.kafka.survey import TopicState

_LEAST = "min.insync.replicas"
_SHOWN = 4


def judged(topics: Mapping[str, TopicState], brokers: Collection[int]) -> Finding:
    """Judge topics by where they lie; ``brokers`` are those that answer now. The worst is told alone."""
    everything = [(name, number, each) for name, state in topics.items() for number, each in state.lies.items()]
    there = frozenset(brokers)
    away = sorted({broker for _, _, each in everything for broker in each.brokers} - there)
    start = (
        f"start broker {_listed(away)} again, or open the way to it"
        if away
        else "see the brokers' logs: a disk, or a network between them"
    )
    headless = _named((name, number) for name, number, each in everything if each.leader not in there)
    if headless:
        return fail(
            f"no broker leads {headless}",
            "nothing is read from there or written to there: events wait for it, and none is lost",
            start,
        )
    least = {name: int(state.settings.get(_LEAST, "1")) for name, state in topics.items()}
    refused = _named((name, number) for name, number, each in everything if len(each.in_sync & there) < least[name])
    if refused:
        return fail(
            f"fewer replicas in sync than {_LEAST}: {refused}",
            "what is written there is refused (NOT_ENOUGH_REPLICAS): events wait for it, and none is lost",
            f"{start}; where {_LEAST} was raised, set it to one less than there are replicas",
        )
    behind = _named(
        (name, number) for name, number, each in everything if len(each.in_sync & there) < len(each.brokers)
    )
    if behind:
        return warn(
            f"replicas are away or behind: {behind}",
            f"all works; with one more away there may be fewer in sync than {_LEAST}, and writes are refused",
            start,
        )
    return _lasting(topics, least, len(brokers))


def _lasting(topics: Mapping[str, TopicState], least: Mapping[str, int], brokers: int) -> Finding:
    """Judge how topics are set for the day when a broker is away."""
    if brokers == 1:
        return ok("one broker has everything")
    of = {name: min((len(each.brokers) for each in state.lies.values()), default=0) for name, state in topics.items()}
    single = [name for name, replicas in of.items() if replicas == 1]
    if single:
        return warn(
            f"one replica on {brokers} brokers: {_listed(single)}",
            "it is gone with its broker: the promise holds for what Kafka keeps",
            "kafka-reassign-partitions.sh; default.replication.factor=3, offsets.topic.replication.factor=3 and "
            "transaction.state.log.replication.factor=3 on the brokers",
        )
    alone = [name for name in of if least[name] == 1]
    if alone:
        return warn(
            f"{_LEAST}=1: {_listed(alone)}",
            "what one broker alone has acknowledged is gone if it dies before the others are back",
            f"kafka-configs.sh --alter --entity-type topics --add-config {_LEAST}=2 ...; and on the brokers",
        )
    rigid = [name for name, replicas in of.items() if least[name] >= replicas]
    if rigid:
        return warn(
            f"{_LEAST} as high as there are replicas: {_listed(rigid)}",
            "while any broker is away, for an upgrade too, what is written there is refused, and events wait",
            f"kafka-configs.sh --alter --entity-type topics --add-config {_LEAST}={min(of.values()) - 1} ..., "
            "or more replicas",
        )
    return ok(f"{min(of.values())} of everything on {brokers} brokers, all in sync")


def _named(partitions: Iterable[tuple[str, int]]) -> str:
    """Return topics with how many of their partitions, nothing where there are none."""
    counted: dict[str, int] = {}
    for topic, _ in partitions:
        counted[topic] = counted.get(topic, 0) + 1
    return _listed([f"{count} of {topic}" for topic, count in counted.items()])


def _listed(names: Iterable[object]) -> str:
    """Return the first few, and how many more there are."""
    every = [str(name) for name in names]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
