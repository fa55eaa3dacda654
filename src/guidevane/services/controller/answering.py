"""Answering people who ask what if: where the latencies, the arrivals and the compiled simulation are at hand."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import parse_qs

import orjson

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from guidevane.control.asking import Live
    from guidevane.control.observation import Observation
    from guidevane.services.controller.service import Controller

_KNOWN = frozenset({"slo", "rate", "drop"})


@runtime_checkable
class Knows(Protocol):
    """A policy that can say how the pipeline stands."""

    def live(self, seen: Observation, memory: object) -> Live | None:
        """Return the pipeline as it stands, or ``None`` where too little is known."""
        ...


def answered(controller: Controller, query: str) -> tuple[int, bytes]:
    """Return the answer to ``slo=80ms&rate=x2&drop=deep``, each of them optional, as an HTTP status and JSON.

    400 where a word of it says nothing, 503 while too little is known. Called in a thread: it reads what was decided
    last, which is replaced whole and never changed.
    """
    asked = parse_qs(query)
    if unknown := sorted(asked.keys() - _KNOWN):
        return _refused(HTTPStatus.BAD_REQUEST, f"{unknown[0]!r} cannot be asked → one of: {', '.join(sorted(_KNOWN))}")
    decided = controller.decided
    policy: object = controller.policy
    if decided is None or not isinstance(policy, Knows):
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "the controller does not steer yet → ask again in some seconds")
    seen, decision, memory = decided
    live = policy.live(seen, memory)
    if live is None:
        why = f"too little is known yet: {decision.why} → send events, and ask again"
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, why)
    from guidevane.control.asking import whatif  # noqa: PLC0415 - it brings LLVM, as the policy that is there by now

    try:
        slo, rate = (asked.get(name, [None])[-1] for name in ("slo", "rate"))
        found = whatif(live, slo=slo, rate=rate, drop=asked.get("drop", []))
    except Misconfigured as wrong:
        return _refused(HTTPStatus.BAD_REQUEST, str(wrong))
    return HTTPStatus.OK, orjson.dumps({"pipeline": controller.pipeline, "at_us": seen.at_us, **found})


def _refused(status: HTTPStatus, why: str) -> tuple[int, bytes]:
    return status, orjson.dumps({"refused": why})
