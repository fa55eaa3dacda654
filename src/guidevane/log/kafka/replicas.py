"""Where partitions lie: who leads each, who should have it, who has all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Replicas:
    """Where one partition lies, by the brokers' ids; ``leader`` is ``NOBODY`` where none of them may lead it."""

    leader: int
    brokers: tuple[int, ...]
    in_sync: frozenset[int]


def replicas_of(described: Sequence[dict[str, Any]]) -> dict[tuple[str, int], Replicas]:
    """Return where partitions lie, by topic and number, of topics as aiokafka's administrator describes them."""
    return {
        (topic["topic"], each["partition"]): Replicas(each["leader"], tuple(each["replicas"]), frozenset(each["isr"]))
        for topic in described
        for each in topic["partitions"]
    }
