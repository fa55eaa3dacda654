"""What was measured, kept as JSON, and the few figures that people ask for."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.stream.contender import PEERS

if TYPE_CHECKING:
    from loadtests.stream.contender import Contender

_OURS = ("topics", "fused")
_NOT_PEERS = {*_OURS, "bare", "bare_tiled", "bare_whole", "relay", "fused_unwatched", "topics_unwatched"}
_LIBRARIES = ("aiokafka", "confluent-kafka", "fastavro", "numpy", "ray", "torch", "uvloop", "xgboost-cpu")
_PEER_LIBRARIES = {"bytewax", "faststream", "faust-streaming", "quixstreams"}


class Results:
    """Every measurement so far, by contender and part; written whenever one is added."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self.path = path
        self.kept: dict[str, Any] = {}
        if path.exists() and not fresh:
            self.kept = json.loads(path.read_text())
        self.measured: dict[str, dict[str, list[Any]]] = self.kept.get("measured", {})

    def add(self, contender: Contender, part: str, made: dict[str, Any]) -> None:
        """Add one measurement of one contender, with when it was and of which commit.

        What an earlier commit measured of the same goes: a median over two states of the code says nothing of either.
        """
        at, now = datetime.now(UTC).isoformat(timespec="seconds"), commit()
        parts = self.measured.setdefault(contender.name, {})
        parts[part] = [each for each in parts.get(part, []) if each["commit"] == now]
        parts[part].append({"at": at, "commit": now, **made})
        self.write()

    def fail(self, contender: Contender, why: str) -> None:
        """Note that a contender could not be measured."""
        self.add(contender, "failed", {"why": why})

    def write(self) -> None:
        """Write the JSON: the summary first, then every measurement."""
        self.kept = {**summary(self.measured), **about(), "measured": self.measured}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.kept, indent=1) + "\n")


def summary(measured: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """Return the figures by name: medians over rounds; what was not measured is left out.

    Events per CPU-second are those of the drains: everyone has full batches there, and no generator runs beside.
    """
    made: dict[str, Any] = {}
    per_cpu = {name: median(parts.get("drain", []), "events_per_cpu_s") for name, parts in measured.items()}
    for name in _OURS:
        parts = measured.get(name, {})
        if (sustained := sustained_per_s(parts)) is not None:
            made[f"events_per_s_{name}"] = sustained
        if parts.get("fixed"):
            made[f"p99_ms_at_{_fixed(parts)}_{name}"] = p99_ms(parts)
        ours = per_cpu.get(name)
        for beside, ratio in (("bare", f"cpu_ratio_{name}"), ("bare_whole", f"cpu_ratio_{name}_of_whole")):
            if ours and (other := per_cpu.get(beside)):
                made[ratio] = round(ours / other, 3)
    for name in _OURS:
        watched, unwatched = (p99_ms(measured.get(each, {})) for each in (name, f"{name}_unwatched"))
        if watched and unwatched:
            made[f"p99_change_by_monitors_{name}"] = round(watched / unwatched - 1, 3)
    peers = {name: parts for name, parts in measured.items() if name not in _NOT_PEERS}
    made["peers"] = {name: per_cpu[name] for name in peers if per_cpu[name] is not None}
    if drained := {name: median(parts["drain"], "events_per_s") for name, parts in peers.items() if "drain" in parts}:
        made["peers_drained_per_s"] = drained
    for name, parts in peers.items():
        if parts.get("fixed"):
            made.setdefault(f"peers_p99_ms_at_{_fixed(parts)}", {})[name] = p99_ms(parts)
    return made


def _fixed(parts: dict[str, list[Any]]) -> str:
    """Return the fixed rate that was offered, events per second; 500 where none was."""
    return f"{next((each['rate_per_s'] for each in parts.get('fixed', [])), 500):g}"


def p99_ms(parts: dict[str, list[Any]]) -> float | None:
    """Return the median p99 at the fixed rate, milliseconds."""
    return median([each["latency_ms"] for each in parts.get("fixed", [])], "p99")


def sustained_per_s(parts: dict[str, list[Any]]) -> float | None:
    """Return the highest rate at which the backlog stayed bounded and nothing was lost; ``None`` where none did."""
    return max((each["rate_per_s"] for each in parts.get("sustained", []) if each["bounded"]), default=None)


def median(found: list[Any], name: str) -> float | None:
    """Return the median of one figure over some measurements; ``None`` where none has it."""
    values = [each[name] for each in found if each[name] is not None]
    return round(statistics.median(values), 1) if values else None


def about() -> dict[str, Any]:
    """Return where, when and of what: the machine, the commit, the versions."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
            **_peer_versions(),
        },
    }


def _peer_versions() -> dict[str, str]:
    """Return what the peers' own environments hold, where they are made."""
    found = {}
    for folder in PEERS.glob("*/lib/python*/site-packages"):
        for each in importlib.metadata.distributions(path=[str(folder)]):
            if each.name in _PEER_LIBRARIES:
                found[each.name] = each.version
    return dict(sorted(found.items()))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in told if "model name" in line), platform.processor())
    return {"cores": os.cpu_count(), "memory_gib": round(memory_bytes / 2**30, 1), "cpu": model}


def commit() -> str:
    """Return the commit that was measured, marked where the tree had changes beside results."""
    named = _git("rev-parse", "--short=12", "HEAD").stdout.strip()
    changed = _git("diff", "--quiet", "HEAD", "--", ".", ":!loadtests/results").returncode
    return f"{named}-dirty" if changed else named


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(Path(__file__).parents[2]), *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - as written here
