"""What aiokafka has fetched, handed out as it was parsed.

aiokafka parses records in compiled code, and then makes one of its own of each, in Python, one by one: that takes three
times as long as parsing. What it parsed has all that a :class:`guidevane.log.Record` is made of.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.fetcher import FetchResult

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition


def hand_out_as_parsed(client: AIOKafkaConsumer) -> None:
    """Have a started client's ``getmany`` give records of another type, with the same attributes where both have them.

    They have ``offset``, ``key``, ``value``, ``headers`` and ``timestamp``.
    """
    # aiokafka 0.14 offers no seam. The contract suite reads every way there is, so an upgrade that breaks this is seen.
    fetcher = client._fetcher  # noqa: SLF001
    waiting, fetcher._records = fetcher._records, _Waiting()  # noqa: SLF001
    fetcher._records.update(waiting)  # noqa: SLF001


class _Waiting(OrderedDict[Any, Any]):
    """What waits to be handed out, by partition: records, or an error."""

    def __setitem__(self, place: TopicPartition, fetched: Any) -> None:
        # aiokafka tells what it fetched from errors by the very class, so that it cannot be another one.
        if type(fetched) is FetchResult:
            fetched._partition_records._consumer_record = _as_parsed  # noqa: SLF001
            fetched.getall = partial(_taken, fetched)
        super().__setitem__(place, fetched)


def _taken(fetched: Any, max_records: int | None = None) -> list[Any]:
    """Return the next records of a partition; fewer than ``max_records`` are the last."""
    if not fetched.check_assignment(fetched._topic_partition) or not fetched.has_more():  # noqa: SLF001
        return []
    # Its own iterator is Python around this one.
    found = list(islice(fetched._partition_records._records_iterator, max_records))  # noqa: SLF001
    fetched._update_position()  # noqa: SLF001
    if max_records is None or len(found) < max_records:
        fetched._partition_records = None  # noqa: SLF001
    return found


def _as_parsed(_: TopicPartition, record: Any) -> Any:
    return record
