"""Ray and the rooms: do they answer, are the members well, is everybody ready."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import TYPE_CHECKING, Any

from guidevane.doctor.check import Finding, fail, ok, skip, warn
from guidevane.doctor.machine import listens, numbers
from guidevane.doctor.where import ask

if TYPE_CHECKING:
    from guidevane.doctor.where import Where

_NOBODY = "nothing runs under the state folder, and RAY_ADDRESS names nobody"
_WHY = "the members of every ensemble run on Ray; without it decisions are fallbacks"
_START = "start it (`guidevane up`, or `ray start --head`), or set RAY_ADDRESS right"
_OWN = {"auto", "local"}
"""What RAY_ADDRESS may say beside an address: whatever Ray finds or starts on this machine."""
_UNAUTHORISED = {401, 403}
_OK = 200


async def ray(where: Where) -> Finding:
    """A Ray whose dashboard answers, of the release that is installed here."""
    if where.ray is None:
        return skip(_NOBODY)
    if where.ray_dashboard is None:
        return await _without_dashboard(where.ray)
    try:
        status, told = await asyncio.to_thread(ask, f"{where.ray_dashboard}/api/ray/version", where.token())
    except (OSError, ValueError) as away:
        # A ValueError is what an address that is no URL gets.
        return fail(f"{where.ray_dashboard} does not answer: {away}", _WHY, _START)
    if status in _UNAUTHORISED:
        return fail(
            f"{where.ray_dashboard} refuses us ({status})", _WHY, "export RAY_AUTH_TOKEN_PATH=FILE with its token"
        )
    if status != _OK:
        # A dashboard without the module that tells; whether Serve is there, the next check asks.
        return ok(f"answers at {where.ray}, and tells no release ({status})")
    return _release(where, str(told.get("ray_version", "")) if isinstance(told, dict) else "")


async def _without_dashboard(address: str) -> Finding:
    if address not in _OWN and not await asyncio.to_thread(listens, address):
        return fail(f"nobody listens at {address}", _WHY, _START)
    mend = "export RAY_API_SERVER_ADDRESS=http://HOST:8265"
    return warn(f"{address} is named, its dashboard is not", "the controller scales replicas through it", mend)


def _release(where: Where, theirs: str) -> Finding:
    try:
        ours = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return ok(f"{theirs} at {where.ray}; none is installed here")
    if numbers(theirs)[:2] == numbers(ours)[:2]:
        return ok(f"{theirs} at {where.ray}")
    why = "a driver of another release cannot join a cluster"
    mend = f"pip install 'ray[serve]=={theirs}' here, or upgrade the cluster"
    return fail(f"Ray {theirs or 'of no release'} at {where.ray}, {ours} here", why, mend)


async def members(where: Where) -> Finding:
    """Serve's applications, one a pipeline, one deployment a member."""
    if where.ray is None or where.ray_dashboard is None:
        return skip(_NOBODY)
    try:
        status, told = await asyncio.to_thread(ask, f"{where.ray_dashboard}/api/serve/applications/", where.token())
    except (OSError, ValueError):
        return skip("Ray does not answer")
    if status != _OK or not isinstance(told, dict):
        return skip(f"Serve does not tell ({status})")
    applications: dict[str, Any] = told.get("applications") or {}
    wanted = [where.pipeline] if where.pipeline else sorted(applications)
    if not wanted:
        return skip("no pipeline has deployed its members yet; the inference room does when it starts")
    ill = []
    for name in wanted:
        app = applications.get(name)
        if app is None:
            ill.append(f"{name} is not deployed")
            continue
        for member, state in (app.get("deployments") or {}).items():
            if state.get("status") != "HEALTHY":
                ill.append(f"{name}.{member} is {state.get('status')}: {state.get('message', '')!s:.200}")
    if ill:
        why = "a member that is away degrades every decision; all of them away, every decision is the fallback"
        return fail("; ".join(ill), why, "see logs/ray in the state folder; restart the inference room to deploy again")
    told_ = (f"{name}: {', '.join(applications[name].get('deployments') or {})}" for name in wanted)
    return ok("; ".join(told_))


async def rooms(where: Where) -> Finding:
    """Every room of a running `guidevane up`: alive and ready."""
    if where.endpoints is None:
        return skip("nothing runs under the state folder")
    urls = sorted({(url, name) for name, url in reversed(where.endpoints.get("metrics", {}).items())})
    by_url = dict(urls)
    answers = await asyncio.gather(*(asyncio.to_thread(_ready, url) for url in by_url))
    told = list(zip(by_url.values(), answers, strict=True))
    ill = [f"{name}: {says}" for name, (says, _) in told if says]
    if ill:
        why = "what a room does not do, nobody does: its topic fills up until it is back"
        return fail("; ".join(ill), why, f"see {where.state_dir / 'logs'}; guidevane down, then guidevane up")
    odd = [f"{name}: {says}" for name, (_, watch) in told for says in watch]
    if odd:
        return warn("; ".join(odd), "the room works, and some events wait for somebody else", "as each line says")
    return ok(f"{len(by_url)} ready")


def _ready(url: str) -> tuple[str, list[str]]:
    """Return why a room is not ready, nothing where it is, and what a person should look at all the same."""
    try:
        status, told = ask(url.replace("/metrics", "/readyz"))
    except OSError as away:
        return f"does not answer ({away})", []
    if not isinstance(told, dict):
        return "" if status == _OK else f"status {status}", []
    return "" if status == _OK else "; ".join(map(str, told.get("reasons", ()))), list(map(str, told.get("watch", ())))
