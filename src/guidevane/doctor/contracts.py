"""Contracts and pipeline: can every version be read, is the pipeline without mistakes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guidevane.compatibility import check, check_tree
from guidevane.doctor.check import Finding, fail, ok, skip
from guidevane.loading import examine, full_reference
from guidevane.schema import SCHEMAS, read_tree

if TYPE_CHECKING:
    from guidevane.doctor.where import Where
    from guidevane.event import Event

_WHY = "records live for weeks: a version that cannot read another one's turns them into dead letters"


async def schemas(where: Where) -> Finding:
    """The committed contracts, ours and the pipeline's: each version reads what each other wrote."""
    problems = [str(each) for each in await asyncio.to_thread(check_tree, SCHEMAS)]
    event = await asyncio.to_thread(_event, where)
    if event is not None:
        problems += [str(each) for each in check(event.history, contract=event.name)]
    if problems:
        return fail("; ".join(problems[:3]), _WHY, "guidevane schemas check [FOLDER]; give new fields defaults")
    histories = read_tree(SCHEMAS)
    says = f"{len(histories)} contracts, {sum(map(len, histories.values()))} versions"
    return ok(says + (f", and {event.contract}" if event is not None else ""))


async def pipeline(where: Where) -> Finding:
    """The pipeline that was named: as `guidevane check` has it."""
    if where.reference is None:
        return skip("none was named")
    _, wrong = await asyncio.to_thread(examine, where.reference)
    if wrong:
        why = "its rooms refuse to start until it is mended"
        return fail("; ".join(map(str, wrong[:3])), why, f"guidevane check {where.reference}")
    return ok(full_reference(where.reference))


def _event(where: Where) -> Event | None:
    found = examine(where.reference)[0] if where.reference is not None else None
    return found.event if found is not None else None
