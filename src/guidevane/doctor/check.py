"""A check is a name and a function; what it finds says what is wrong, why it matters, and the command that mends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from guidevane.doctor.where import Where

if TYPE_CHECKING:
    from collections.abc import Sequence


class Status(StrEnum):
    """How it is. What is skipped could not be looked at, for a reason that is said, and is no failure."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``why`` and ``mend`` are there where something is wrong."""

    status: Status
    says: str
    why: str = ""
    mend: str = ""


Look = Callable[[Where], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, and how long that may take."""

    name: str
    look: Look
    within_s: float = 5.0


def ok(says: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, says)


def skip(says: str) -> Finding:
    """It could not be looked at, and need not be."""
    return Finding(Status.SKIP, says)


def warn(says: str, why: str, mend: str) -> Finding:
    """It works, and may not for long."""
    return Finding(Status.WARN, says, why, mend)


def fail(says: str, why: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(Status.FAIL, says, why, mend)


async def examine(checks: Sequence[Check], where: Where) -> list[tuple[Check, Finding]]:
    """Run all checks side by side; one that takes too long or breaks is a failure that says so."""

    async def one(check: Check) -> Finding:
        try:
            async with asyncio.timeout(check.within_s):
                return await check.look(where)
        except TimeoutError:
            return fail(
                f"no answer within {check.within_s:g} s", "what answers this slowly is down, overloaded or cut off",
                "look at its log, then run `guidevane doctor` again",
            )  # fmt: skip
        except Exception as broken:  # noqa: BLE001 - a doctor who falls ill still tells of the rest
            return fail(
                f"could not be looked at: {broken!r:.200}",
                "an answer that nobody expected",
                "report it, with this line",
            )

    found = await asyncio.gather(*(one(check) for check in checks))
    return list(zip(checks, found, strict=True))
