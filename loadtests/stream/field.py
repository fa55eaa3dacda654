"""The field: everyone who is measured, in the order of a round."""

from __future__ import annotations

from loadtests.stream.contender import Contender

_BARE = "loadtests.stream.bare"
_PEERS = "loadtests.stream.peers"

BARE = Contender(name="bare", about="one process: getmany, fastavro, the ensemble, fastavro, send_batch", module=_BARE)
FIELD = (
    BARE,
    Contender(
        name="relay",
        about="one process: getmany, send_batch; nothing is decided",
        module=_BARE,
        options=("--relay",),
        burst=120_000,
        decides=False,
    ),
    Contender(
        name="bare_tiled",
        about="the bare loop, its members called in tiles as our rooms call them",
        module=_BARE,
        options=("--tiled",),
    ),
    Contender(name="fused", about="our platform: the hot rooms in one process, all else beside", rooms="fused"),
    Contender(name="topics", about="our platform: every room in a process of its own", rooms="apart"),
    Contender(
        name="faststream",
        about="FastStream: batch subscriber, batch publisher, commit after the handler",
        module=f"{_PEERS}.with_faststream",
        peer="faststream",
    ),
    Contender(
        name="quix",
        about="Quix Streams: a sink that decides at each checkpoint",
        module=f"{_PEERS}.with_quix",
        peer="quix",
    ),
    Contender(
        name="faust",
        about="Faust: an agent that takes events in batches",
        module=f"{_PEERS}.with_faust",
        peer="faust",
        options=("worker",),
    ),
    Contender(
        name="bytewax",
        about="bytewax: flat_map_batch between Kafka and Kafka, recovery on",
        module=f"{_PEERS}.with_bytewax",
        peer="bytewax",
    ),
    Contender(
        name="ray_serve_http",
        about="the bare loop asking Ray Serve over HTTP, batched there by @serve.batch",
        module=f"{_PEERS}.with_ray_serve",
        burst=3_000,
    ),
    Contender(name="bare_whole", about="bare, doing all that our hot path does", module=_BARE, options=("--whole",)),
    *(
        Contender(
            name=f"{peer}_whole",
            about=f"{peer}, doing all that our hot path does",
            module=f"{_PEERS}.with_{peer}",
            peer=peer,
            options=("--whole", *options),
        )
        for peer, options in (("faststream", ()), ("quix", ()), ("faust", ("worker",)), ("bytewax", ()))
    ),
)
# Measured only where asked for by name.
UNWATCHED = (
    Contender(name="fused_unwatched", about="fused, without the monitors", rooms="fused", without=("monitors",)),
    Contender(name="topics_unwatched", about="topics, without the monitors", rooms="apart", without=("monitors",)),
)


def chosen(names: str) -> tuple[Contender, ...]:
    """Return the contenders of a list such as ``fused,bare``; the whole field where it is empty."""
    known = {each.name: each for each in (*FIELD, *UNWATCHED)}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wrong := [name for name in wanted if name not in known]:
        raise SystemExit(f"there is no contender {', '.join(wrong)}: {', '.join(known)}")
    return tuple(known[name] for name in wanted) if wanted else FIELD
