"""The JSON form of a graph, read with a mind to whoever wrote it: every mistake at once, and what to write instead."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guidevane.control.graph import Edge, Graph, Hardware, Stage
from guidevane.control.profile import Profile, is_number
from guidevane.errors import Misconfigured
from guidevane.word import Mistake, nearest

_TOP = ("stages", "edges", "exclusive", "hop_ms", "quorum", "jitter", "price_usd_per_hour", "startup_s")
_STAGE = ("latency_ms", "hardware", "price_usd_per_hour", "startup_s", "jitter", "partitions", "accuracy")
_HARDWARE = ("latency_ms", "price_usd_per_hour", "startup_s", "jitter")
PRICE_USD_PER_HOUR, STARTUP_S, HOP_MS, JITTER = 1.0, 20.0, 4.0, 0.03
"""What holds where a graph says nothing."""
_HALF = 0.5
_EDGE = 3


def read_graph(written: object) -> Graph:
    """Return the graph that a decoded JSON document writes.

    ::

        {"stages": {"name": {"latency_ms": {"1": 12.0, "4": 30.1}, "price_usd_per_hour": 0.7, "startup_s": 20}},
         "edges": [["a", "b"], ["a", "c", 0.34]], "exclusive": ["a"], "hop_ms": 4, "quorum": {"d": 3}}

    A stage has ``latency_ms`` (batch size → milliseconds), or ``hardware``: one such table, or several
    by the hardware's name, each a plain table or ``{"latency_ms": ..., "price_usd_per_hour": ...,
    "startup_s": ...}``. Prices and start-ups may stand at the hardware, at the stage or at the top, as
    one number or by the hardware's name; the nearest to the hardware counts. Optional: ``edges``
    (none), the share of an edge (1), ``exclusive`` (none), ``hop_ms`` (4), ``quorum`` (none), ``jitter``
    (0.03), ``price_usd_per_hour`` (1.0), ``startup_s`` (20), ``partitions`` (0: one queue), ``accuracy``.
    Fields with other names are left alone, unless they look like one of these misspelt.

    Raises ``Misconfigured`` with one line for each mistake.
    """
    reader = _Reader()
    graph = reader.graph(written)
    if reader.mistakes or graph is None:
        raise Misconfigured("\n".join(map(str, reader.mistakes)))
    return graph


@dataclass
class _Reader:
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, path: str, says: str, instead: str = "") -> None:
        self.mistakes.append(Mistake(path, says, instead))

    def graph(self, written: object) -> Graph | None:
        if not isinstance(written, Mapping):
            self.wrong("", f"a graph is an object, not {written!r:.40}", 'write {"stages": {...}, "edges": [...]}')
            return None
        self._spelling("", written, _TOP)
        raw = written.get("stages")
        if not isinstance(raw, Mapping) or not raw:
            self.wrong("stages", "a graph has stages by name", 'write {"stages": {"a": {"latency_ms": {"1": 12}}}}')
            return None
        stages = {str(name): self._stage(f"stages.{name}", str(name), each, written) for name, each in raw.items()}
        names = list(stages)
        edges = self._edges(written.get("edges"), names)
        exclusive = self._exclusive(written.get("exclusive"), names)
        self._shares(edges, exclusive)
        quorum = self._quorum(written.get("quorum"), names, edges)
        hop_ms = self._number("hop_ms", written.get("hop_ms"), HOP_MS, least=0.0)
        order = self._order(names, edges)
        if self.mistakes:
            return None
        found = [stages[name] for name in order]
        return Graph(tuple(each for each in found if each), tuple(edges), exclusive, hop_ms / 1e3, quorum)

    def _stage(self, path: str, name: str, raw: object, top: Mapping[str, Any]) -> Stage | None:
        if not isinstance(raw, Mapping):
            self.wrong(path, f"a stage is an object, not {raw!r:.40}", 'write {"latency_ms": {"1": 12.0}}')
            return None
        self._spelling(path, raw, _STAGE)
        entries = self._entries(path, raw)
        hardware = [self._hardware((path, where), kind, entry, raw, top) for where, kind, entry in entries]
        partitions = self._number(f"{path}.partitions", raw.get("partitions"), 0, least=0)
        accuracy = raw.get("accuracy")
        if accuracy is not None:
            accuracy = self._number(f"{path}.accuracy", accuracy, 1.0, least=0.0)
        return Stage(name, tuple(each for each in hardware if each), int(partitions), accuracy)

    def _entries(self, path: str, raw: Mapping[str, Any]) -> list[tuple[str, str, object]]:
        """Return (where it stands, hardware name, what is written) for each kind of hardware of a stage."""
        latency, hardware = raw.get("latency_ms"), raw.get("hardware")
        kind = hardware if isinstance(hardware, str) else "default"
        if hardware is not None and not isinstance(hardware, str):
            if latency is not None:
                self.wrong(
                    f"{path}.latency_ms",
                    "stands beside a table of hardware, and nothing says which of the two counts",
                    f"write it into {path}.hardware, or take one of them out",
                )
            if not isinstance(hardware, Mapping) or not hardware:
                self.wrong(f"{path}.hardware", f"{hardware!r:.40} is no table", 'write {"k80": {"1": 12.0, "4": 30.1}}')
                return []
            if _is_table(hardware) or "latency_ms" in hardware:
                return [("hardware", kind, hardware)]
            return [(f"hardware.{name}", str(name), each) for name, each in hardware.items()]
        if latency is None:
            self.wrong(path, "has no latency", f'write {path}.latency_ms = {{"1": 12.0, "4": 30.1}}, or hardware')
            return []
        if isinstance(latency, Mapping) and latency and all(isinstance(each, Mapping) for each in latency.values()):
            return [(f"latency_ms.{name}", str(name), each) for name, each in latency.items()]
        return [("latency_ms", kind, latency)]

    def _hardware(
        self, at: tuple[str, str], kind: str, entry: object, stage: Mapping[str, Any], top: Mapping[str, Any]
    ) -> Hardware | None:
        path_of_stage, path = at[0], ".".join(at)
        own: Mapping[str, Any] = {}
        if isinstance(entry, Mapping) and any(name in entry for name in _HARDWARE):
            self._spelling(path, entry, _HARDWARE)
            # A plain table may have a price beside its batch sizes.
            beside = {name: each for name, each in entry.items() if name not in _HARDWARE}
            for name, each in beside.items():
                # Other tables are somebody's notes, as those of what guidevane profile measured.
                table = isinstance(each, Mapping) and ("latency_ms" in each or _is_table(each))
                if "latency_ms" in entry and (table or str(name).isdigit()):
                    self.wrong(f"{path}.{name}", "stands beside latency_ms, and is not read", "take one of them out")
            own, entry = entry, entry.get("latency_ms", beside or None)
        if isinstance(entry, (int, float)) and not isinstance(entry, bool):
            entry = {"1": entry}
        if not isinstance(entry, Mapping):
            self.wrong(path, f"{entry!r:.40} is no latency table", 'write {"1": 12.0, "4": 30.1}')
            return None
        says = {}
        for what, default in (("price_usd_per_hour", PRICE_USD_PER_HOUR), ("startup_s", STARTUP_S), ("jitter", JITTER)):
            places = ((f"{path}.{what}", own), (f"{path_of_stage}.{what}", stage), (what, top))
            told = ((where, each.get(what)) for where, each in places)
            told = ((f"{w}.{kind}", each.get(kind)) if isinstance(each, Mapping) else (w, each) for w, each in told)
            where, found = next((each for each in told if each[1] is not None), (what, None))
            says[what] = self._number(where, found, default, least=0.0)
        try:
            profile = Profile.read(entry, jitter=says["jitter"])
        except Misconfigured as mistake:
            self.wrong(path, str(mistake))
            return None
        return Hardware(kind, profile, says["price_usd_per_hour"], says["startup_s"])

    def _edges(self, raw: object, names: Sequence[str]) -> list[Edge]:
        edges: list[Edge] = []
        if raw is not None and (isinstance(raw, (str, Mapping)) or not isinstance(raw, Sequence)):
            self.wrong("edges", f"{raw!r:.40} is no list", 'write [["a", "b"], ["a", "c", 0.34]]')
            return edges
        for at, each in enumerate(raw or ()):
            path = f"edges[{at}]"
            if isinstance(each, (str, Mapping)) or not isinstance(each, Sequence) or len(each) not in {2, _EDGE}:
                self.wrong(path, f"{each!r:.40} is no edge", 'write ["a", "b"] or ["a", "b", 0.34]')
                continue
            before, after = str(each[0]), str(each[1])
            for name in (before, after):
                if name not in names:
                    self.wrong(path, f"there is no stage {name!r}", nearest(name, names))
            if any((before, after) == (other.before, other.after) for other in edges):
                self.wrong(path, f"{before} → {after} is there already", "write each edge once")
            share = self._number(path, each[2] if len(each) == _EDGE else None, 1.0, least=0.0, most=1.0)
            edges.append(Edge(before, after, share))
        return edges

    def _exclusive(self, raw: object, names: Sequence[str]) -> frozenset[str]:
        listed = [raw] if isinstance(raw, str) else raw or ()
        if not isinstance(listed, Sequence):
            self.wrong("exclusive", f"{raw!r:.40} is no list", 'write ["a"]: stages whose edges are alternatives')
            return frozenset()
        for at, name in enumerate(listed):
            if name not in names:
                self.wrong(f"exclusive[{at}]", f"there is no stage {name!r}", nearest(str(name), names))
        return frozenset(map(str, listed))

    def _shares(self, edges: Sequence[Edge], exclusive: frozenset[str]) -> None:
        for name in sorted(exclusive):
            total = sum(edge.share for edge in edges if edge.before == name)
            if total > 1 + 1e-6:
                self.wrong(
                    f"exclusive {name}",
                    f"the edges out of {name!r} are alternatives, and their shares sum to {total:g}",
                    "write shares that sum to at most 1, or take the stage out of exclusive",
                )

    def _quorum(self, raw: object, names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
        if raw is None:
            return {}
        if not isinstance(raw, Mapping):
            self.wrong("quorum", f"{raw!r:.40} is no table", 'write {"join": 3}')
            return {}
        found = {}
        for name, value in raw.items():
            path, incoming = f"quorum.{name}", sum(edge.after == name for edge in edges)
            if name not in names:
                self.wrong(path, f"there is no stage {name!r}", nearest(str(name), names))
            elif not is_number(value) or value != int(value) or value < 1:
                self.wrong(path, f"{value!r:.40} is no number of edges", "write a whole number from 1")
            elif value > incoming:
                self.wrong(path, f"waits for {value}, but {incoming} edges lead in", f"write at most {incoming}")
            else:
                found[str(name)] = int(value)
        return found

    def _order(self, names: Sequence[str], edges: Sequence[Edge]) -> list[str]:
        """Return the stages in topological order, the graph's own order among equals."""
        order: list[str] = []
        left = list(names)
        while left:
            free = [name for name in left if not any(e.after == name and e.before in left for e in edges)]
            if not free:
                self.wrong("edges", f"a circle among {', '.join(left)}", "take out an edge: events only go forward")
                return order
            order.append(free[0])
            left.remove(free[0])
        return order

    def _number(
        self, path: str, raw: object, default: float, *, least: float = -math.inf, most: float = math.inf
    ) -> float:
        if raw is None:
            return default
        if not is_number(raw):
            self.wrong(path, f"{raw!r:.40} is no number", f"write a number such as {default:g}, without quotes")
        elif not least <= raw <= most:
            self.wrong(
                path,
                f"{raw:g} is out of bounds",
                f"write {f'{least:g} to {most:g}' if most < math.inf else f'{least:g} or more'}",
            )
        else:
            return float(raw)
        return default

    def _spelling(self, path: str, raw: Mapping[str, Any], known: Sequence[str]) -> None:
        for name in raw:
            if name not in known and (close := difflib.get_close_matches(str(name), known, n=1, cutoff=0.8)):
                self.wrong(f"{path}.{name}".lstrip("."), "there is no such field", f"write {close[0]!r}")


def _is_table(raw: Mapping[str, Any]) -> bool:
    """Tell a latency table (its keys are batch sizes), with a price beside them or not, from a table of others."""
    beside = {name: each for name, each in raw.items() if name not in _HARDWARE}
    # Hardware may be called by a number ("4090"): what stands there is a table then.
    sizes = sum(str(name).lstrip("+-").isdigit() and not isinstance(each, Mapping) for name, each in beside.items())
    return bool(beside) and sizes > _HALF * len(beside)
