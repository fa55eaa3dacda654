"""Quix Streams: a sink that decides whole batches, flushed at each checkpoint.

Its pages on sinks: ``add`` gathers, ``flush`` is called when a checkpoint commits, and ``commit_every`` bounds the
batch. Offsets are committed after ``flush``, so what a batch writes is acknowledged before: at least once. The other
documented way, ``apply`` for each event, calls the ensemble with one row, which costs some thirty times as much. With
``--whole`` the sink writes to five topics.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from typing import Any

from quixstreams import Application
from quixstreams.sinks.base.sink import BaseSink

from loadtests.stream.whole import whole_of
from loadtests.stream.work import Work


class Gathering(BaseSink):
    """Answers what has gathered since the last checkpoint."""

    def __init__(self, app: Application) -> None:
        super().__init__()
        self._producer = app.get_producer()
        self._gathered: list[Any] = []

    def setup(self) -> None:
        """There is nothing to connect to: the producer connects itself."""

    def flush(self) -> None:
        """Answer all, and wait until Kafka has acknowledged."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        self._answer(gathered)
        if self._producer.flush():
            raise RuntimeError("not every answer was acknowledged: the checkpoint must not commit")

    @abstractmethod
    def _answer(self, gathered: list[Any]) -> None:
        """Produce the answers to a batch."""


class Deciding(Gathering):
    """Decides."""

    def __init__(self, app: Application, decisions: str) -> None:
        super().__init__(app)
        self._work = Work()
        self._decisions = decisions

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        """Keep one event."""
        del timestamp, headers, topic, offset
        self._gathered.append((key, value, partition))

    def _answer(self, gathered: list[Any]) -> None:
        for (key, _, partition), decided in zip(gathered, self._work([each[1] for each in gathered]), strict=True):
            self._producer.produce(topic=self._decisions, value=decided.value, key=key, partition=partition)


class DoingAll(Gathering):
    """Does the whole of the work."""

    def __init__(self, app: Application, events: str) -> None:
        super().__init__(app)
        self._whole = whole_of(events)

    def add(self, value: Any, key: Any, timestamp: int, headers: Any, topic: str, partition: int, offset: int) -> None:
        """Keep one event."""
        del timestamp, headers, topic
        self._gathered.append((partition, offset, key, value))

    def _answer(self, gathered: list[Any]) -> None:
        produce = self._producer.produce
        for (topic, partition), records in self._whole(gathered).items():
            for key, value, headers in records:
                produce(topic=topic, value=value, key=key, partition=partition, headers=headers)


def main() -> None:
    """Run until told to stop."""
    events, decisions, *options = sys.argv[1:]
    whole = "--whole" in options
    app = Application(
        broker_address=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        consumer_group=f"{events}.group",
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_every=512,
        commit_interval=0.02,
        consumer_poll_timeout=0.005,
        consumer_extra_config={"fetch.wait.max.ms": 10, "fetch.min.bytes": 65536},
        # ``flush`` waits for no linger: of five topics it only keeps what is written until then in few large requests.
        producer_extra_config={"acks": "all", "enable.idempotence": True, "linger.ms": 5 if whole else 0},
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
    )
    source = app.topic(events, key_deserializer="bytes", value_deserializer="bytes")
    app.dataframe(source).sink(DoingAll(app, events) if whole else Deciding(app, decisions))
    app.run()


if __name__ == "__main__":
    main()
