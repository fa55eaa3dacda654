"""bytewax: Kafka in, ``flat_map_batch``, Kafka out, with recovery.

Its page on performance names ``flat_map_batch`` for work that pays by the call, and ``batch_size`` for how much a
source hands on. At least once by recovery: positions are in snapshots that are taken at each epoch's end.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from loadtests.stream.work import Work


def main() -> None:
    """Run until told to stop."""
    events, decisions = sys.argv[1:]
    work = Work()

    def decide(batch: list[Any]) -> list[KafkaSinkMessage]:
        answers = work([message.value for message in batch])
        return [KafkaSinkMessage(message.key, decided.value) for message, decided in zip(batch, answers, strict=True)]

    brokers = [os.environ["KAFKA_BOOTSTRAP_SERVERS"]]
    flow = Dataflow("bench")
    source = KafkaSource(
        brokers, [events], batch_size=512, add_config={"fetch.wait.max.ms": "10", "fetch.min.bytes": "65536"}
    )
    answered = op.flat_map_batch("decide", op.input("in", flow, source), decide)
    # The sink chooses partitions by key; with Kafka's own hash it chooses those that the events came on.
    told = {"acks": "all", "enable.idempotence": "true", "linger.ms": "0", "partitioner": "murmur2_random"}
    op.output("out", answered, KafkaSink(brokers, decisions, add_config=told))
    kept = Path(tempfile.mkdtemp(prefix="bytewax-", dir=os.environ.get("GUIDEVANE_STATE_DIR")))
    init_db_dir(kept, 1)
    cli_main(flow, recovery_config=RecoveryConfig(str(kept)), epoch_interval=timedelta(seconds=10))


if __name__ == "__main__":
    main()
