"""What a person sees while the demo runs: rates, latencies, replicas, actions, alerts, second by second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from guidevane.demo.report import HOT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import RenderableType

    from guidevane.demo.replay import Replay
    from guidevane.demo.watch import Watch

_BARS = " ▁▂▃▄▅▆▇█"


def screen(watch: Watch, replay: Replay | None, *, elapsed_s: float, seconds: float, admin: str) -> RenderableType:
    """Return the whole picture as it is now."""
    live = watch.live_ms()
    within = watch.pipeline.slo.within_ms
    p50, p99 = np.percentile(live, (50, 99)) if live.size else (float("nan"), float("nan"))
    ok = not live.size or p99 <= within
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text("end to end, last 5 s", style="bold"),
        f"p50 {p50:.0f} ms" if live.size else "p50 –",
        Text(f"p99 {p99:.0f} ms" if live.size else "p99 –", style="green" if ok else "bold red"),
        f"objective {within:.0f} ms",
        Text(_spark(live, within)),
    )
    ledger = watch.ledger
    counts = Table.grid(padding=(0, 2))
    counts.add_row(
        f"sent {len(ledger.entries):,}",
        f"answered {len(ledger.entries) - ledger.waiting:,}",
        f"under way {ledger.waiting:,}",
        f"labels joined {watch.outcomes_joined:,}",
        Text(f"twice {ledger.duplicated}", style="" if not ledger.duplicated else "bold red"),
    )
    parts: list[RenderableType] = [head, counts]
    if replay is not None:
        parts.append(ProgressBar(total=seconds, completed=min(elapsed_s, seconds), width=60))
    parts.append(_stages(watch))
    parts.append(_steering(watch))
    return Panel(Group(*parts), title=f"[b]{watch.pipeline.name}[/b] · admin {admin}", title_align="left")


def _stages(watch: Watch) -> Table:
    table = Table("stage", "events/s", "p50 ms", "p99 ms", "fetch wait ms", "max batch", box=None, padding=(0, 2))
    for stage in HOT:
        ms, told = watch.stage_ms(stage, recent=True), watch.settings.get(stage, {})
        wait_s, batch = told.get("fetch_wait_s"), told.get("max_batch")
        table.add_row(
            stage,
            f"{watch.rates.get(stage, 0):,.0f}",
            "–" if ms["p50"] is None else f"{ms['p50']:.0f}",
            "–" if ms["p99"] is None else f"{ms['p99']:.0f}",
            "" if wait_s is None else f"{wait_s * 1e3:.0f}",
            "" if batch is None else f"{batch:.0f}",
        )
    return table


def _steering(watch: Watch) -> Table:
    table = Table.grid(padding=(0, 2))
    replicas = ", ".join(f"{member} ×{n}" for member, n in sorted(watch.replicas.items()))
    table.add_row(Text("replicas", style="bold"), replicas or "–")
    if watch.forecast is not None:
        now, ready_for = watch.forecast
        table.add_row(Text("forecast", style="bold"), f"{now:.0f} events/s come, ready for {ready_for:.0f}")
    for row in list(watch.actions)[-3:]:
        table.add_row(Text("controller", style="bold"), f"{row['action']} {row['object']}: {row['reason']}"[:110])
    for alert in list(watch.alerts)[-2:]:
        table.add_row(Text("alert", style="bold yellow"), f"{alert['kind']}: {alert['message']}"[:110])
    return table


def _spark(values: NDArray[np.float64], most: float, width: int = 24) -> str:
    """Draw the distribution from 0 to twice the objective as one line of bars."""
    if not values.size:
        return ""
    counts, _ = np.histogram(values, bins=width, range=(0, 2 * most))
    top = max(int(counts.max()), 1)
    return "".join(_BARS[int(np.ceil(c / top * (len(_BARS) - 1)))] for c in counts)
