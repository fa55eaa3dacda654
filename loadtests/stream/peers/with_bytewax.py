"""bytewax: Kafka in, ``flat_map_batch``, Kafka out, with recovery.

Its page on performance names ``flat_map_batch`` for work that pays by the call, and ``batch_size`` for how much a
source hands on. At least once by recovery: positions are in snapshots that are taken at each epoch's end.

With ``--whole`` the sink is one of its own, as the guide to custom connectors has it: ``KafkaSink`` takes a topic with
each message and leaves out its partition, and the hash of a pseudonym is not where the event came from.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow, Stream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from confluent_kafka import Producer

from loadtests.stream.whole import whole_of
from loadtests.stream.work import Work

if TYPE_CHECKING:
    from loadtests.stream.whole import Sent

    Batch = tuple[tuple[str, int], list[Sent]]

_PRODUCER = {"acks": "all", "enable.idempotence": "true"}


class Places(StatelessSinkPartition):
    """Writes records to the topics and partitions that they name."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def write_batch(self, items: list[Batch]) -> None:
        """Write all, and wait until Kafka has acknowledged."""
        produce = self._producer.produce
        for (topic, partition), records in items:
            for key, value, headers in records:
                produce(topic, value, key, partition, headers=headers)
        self._producer.flush()

    def close(self) -> None:
        """Wait for what is on its way."""
        self._producer.flush()


class PlacesSink(DynamicSink):
    """Opens the same for each worker."""

    def __init__(self, brokers: list[str]) -> None:
        # ``flush`` waits for no linger: it only keeps what is written until then in few large requests.
        self._told = {"bootstrap.servers": ",".join(brokers), **_PRODUCER, "linger.ms": "5"}

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Places:
        """Return a worker's own."""
        del step_id, worker_index, worker_count
        return Places(Producer(self._told))


def main() -> None:
    """Run until told to stop."""
    events, decisions, *options = sys.argv[1:]
    brokers = [os.environ["KAFKA_BOOTSTRAP_SERVERS"]]
    flow = Dataflow("bench")
    source = KafkaSource(
        brokers, [events], batch_size=512, add_config={"fetch.wait.max.ms": "10", "fetch.min.bytes": "65536"}
    )
    came = op.input("in", flow, source)
    if "--whole" in options:
        _do_all(came, events, brokers)
    else:
        _decide(came, decisions, brokers)
    kept = Path(tempfile.mkdtemp(prefix="bytewax-", dir=os.environ.get("GUIDEVANE_STATE_DIR")))
    init_db_dir(kept, 1)
    cli_main(flow, recovery_config=RecoveryConfig(str(kept)), epoch_interval=timedelta(seconds=10))


def _decide(came: Stream, decisions: str, brokers: list[str]) -> None:
    work = Work()

    def decide(batch: list[Any]) -> list[KafkaSinkMessage]:
        answers = work([message.value for message in batch])
        return [KafkaSinkMessage(message.key, decided.value) for message, decided in zip(batch, answers, strict=True)]

    # The sink chooses partitions by key; with Kafka's own hash it chooses those that the events came on.
    told = {**_PRODUCER, "linger.ms": "0", "partitioner": "murmur2_random"}
    op.output("out", op.flat_map_batch("decide", came, decide), KafkaSink(brokers, decisions, add_config=told))


def _do_all(came: Stream, events: str, brokers: list[str]) -> None:
    whole = whole_of(events)

    def answer(batch: list[Any]) -> list[Batch]:
        written = whole([(message.partition, message.offset, message.key, message.value) for message in batch])
        return list(written.items())

    op.output("out", op.flat_map_batch("answer", came, answer), PlacesSink(brokers))


if __name__ == "__main__":
    main()
