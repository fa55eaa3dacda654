# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""Which cluster a reading command asks, and which contracts it can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from guidevane.codec import Codec
    from guidevane.log import Log

STATE_DIR = Path(".guidevane")

Bootstrap = Annotated[
    str | None,
    typer.Option(help="host:port of Kafka. Default: KAFKA_BOOTSTRAP_SERVERS, then what runs under --state-dir."),
]
StateDir = Annotated[Path, typer.Option(help="Where `guidevane up` keeps its state.")]
Known = Annotated[
    str | None, typer.Option("--pipeline", help="module:name of a pipeline, to read the events of its own contract.")
]


def bootstrap_of(given: str | None, state_dir: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Return where Kafka is: as told, from the environment, or as the local runner wrote it down.

    Raises ``Misconfigured`` where nobody says.
    """
    told = given or environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if told:
        return told
    if (state_dir / "endpoints.json").exists():
        from guidevane.local.endpoints import Endpoints

        return Endpoints.load(state_dir).kafka
    raise Misconfigured(
        f"no Kafka is named: pass --bootstrap host:port, set KAFKA_BOOTSTRAP_SERVERS, or run `guidevane up` "
        f"(nothing runs under {state_dir})"
    )


def ask(work: Callable[[Log], Awaitable[None]], bootstrap: str | None, state_dir: Path) -> None:
    """Run ``work`` on the cluster; Ctrl-C and a reader that goes away (``| head``) end it in peace."""
    import asyncio
    import logging

    from guidevane.log.kafka import Connection, KafkaLog

    # What a client says of a broker that is away, the error says itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    # Not through RoomSettings: who only reads has not installed what rooms need.
    connection = Connection.told(os.environ, bootstrap=bootstrap_of(bootstrap, state_dir))

    async def run() -> None:
        log = KafkaLog(connection)
        try:
            await work(log)
        finally:
            await log.close()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:
        # What Python would still flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def codec_for(topic: str, pipeline: str | None) -> Codec:
    """Return a codec that knows the platform's contracts and the pipeline's own.

    Without ``pipeline`` the topic's name tells whether it belongs to an example.
    """
    from guidevane.catalogue import Catalogue
    from guidevane.codec import Codec
    from guidevane.loading import examine, examples

    catalogue = Catalogue()
    owner = topic.rpartition(".")[0]
    reference = pipeline or (owner if owner in examples() else None)
    if reference is not None:
        # A pipeline that cannot run (a model is missing) still tells how to read its events.
        found, wrong = examine(reference)
        if found is None:
            raise Misconfigured("\n".join(str(each) for each in wrong))
        catalogue.learn(found.event)
    return Codec(catalogue)


def name_of(reference: str) -> str:
    """Return a pipeline's name, from itself or from ``module:name``: a module may be called otherwise.

    >>> name_of("fraud"), name_of("guidevane.pipelines.employment:pipeline")
    ('fraud', 'employment')
    """
    from guidevane.loading import examine

    if ":" not in reference:
        return reference
    found, wrong = examine(reference)
    if found is None:
        raise Misconfigured("\n".join(str(each) for each in wrong))
    return found.name
