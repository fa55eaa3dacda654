"""The results as a page: what each policy did over the cells, with intervals; and every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loadtests.steering.scores import paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OURS = "guidevane"
EVALUATION = "The evaluation's pipelines"
TITLES = {
    "unseen": "Unseen graphs on recordings",
    "heaps": "Events that come in heaps",
    "drawn": "Drawn graphs and traffic",
}
SUMMARY = (
    "policy", "cells held", "mean miss", "worst miss", "$/oracle, cells held: mean", "median", "worst",
    "$/oracle, all cells", "ours − theirs, cells both hold (95 %)", "s to converge, median", "never", "actions/cell",
)  # fmt: skip


def groups(told: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the cells' scores, those of the evaluation, the unseen and the drawn ones apart."""
    named = {name: cell["policies"] for name, cell in told["cells"].items()}
    parts: dict[str, dict[str, Any]] = {}
    for name, each in named.items():
        title = next((title for prefix, title in TITLES.items() if name.startswith(prefix)), EVALUATION)
        parts.setdefault(title, {})[name] = each
    return parts


def summary(cells: Mapping[str, Any]) -> str:
    """Return one line a policy. A cost counts as such only where the objective was kept."""
    lines = [_line(SUMMARY), "|" + "---|" * len(SUMMARY)]
    for policy in dict.fromkeys(name for cell in cells.values() for name in cell):
        scores = {name: cell[policy] for name, cell in cells.items() if policy in cell}
        miss = [each["miss"] for each in scores.values()]
        held = [each["oracle_ratio"] for each in scores.values() if each["kept"] and each["oracle_ratio"]]
        ratios = [each["oracle_ratio"] for each in scores.values() if each["oracle_ratio"]]
        rises = [at for each in scores.values() for at in each.get("converged_s", ())]
        reached = [at for at in rises if at is not None]
        lines.append(
            _line(
                (
                    policy,
                    f"{sum(each['kept'] for each in scores.values())}/{len(scores)}",
                    f"{100 * np.mean(miss):.2f} %",
                    f"{100 * max(miss):.2f} %",
                    *((f"{f(held):.2f}" for f in (np.mean, np.median, max)) if held else ("–",) * 3),
                    f"{np.mean(ratios):.2f}" if ratios else "–",
                    _against(cells, policy),
                    f"{np.median(reached):.0f}" if reached else "–",
                    f"{len(rises) - len(reached)}/{len(rises)}",
                    f"{np.mean([each['actions'] for each in scores.values()]):.0f}",
                )
            )
        )
    return "\n".join(lines) + "\n"


def _against(cells: Mapping[str, Any], policy: str) -> str:
    both = [
        (cell[OURS]["oracle_ratio"], cell[policy]["oracle_ratio"])
        for cell in cells.values()
        if policy != OURS and {OURS, policy} <= set(cell) and cell[OURS]["kept"] and cell[policy]["kept"]
        if cell[OURS]["oracle_ratio"] and cell[policy]["oracle_ratio"]
    ]
    if len(both) < 2:  # noqa: PLR2004 - of one pair there is no interval
        return "–"
    mean, low, high = paired(*zip(*both, strict=True))
    return f"{mean:+.2f} ({low:+.2f} … {high:+.2f}), n = {len(both)}"


def each_cell(cells: Mapping[str, Any]) -> str:
    """Return miss and cost over the oracle's, a line a cell; costs of who did not hold in brackets."""
    names = list(dict.fromkeys(name for cell in cells.values() for name in cell))
    lines = [_line(("cell", *names)), "|" + "---|" * (len(names) + 1)]
    for name, cell in cells.items():
        lines.append(_line((name, *(_short(cell[each]) if each in cell else "" for each in names))))
    return "\n".join(lines) + "\n"


def _short(score: Mapping[str, Any]) -> str:
    ratio = "–" if score["oracle_ratio"] is None else f"{score['oracle_ratio']:.2f}"
    return f"{100 * score['miss']:.2f} % · {ratio if score['kept'] else f'({ratio})'}"


def _line(columns: Iterable[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def report(told: Mapping[str, Any]) -> str:
    """Return the page."""
    commits = sorted({cell["commit"] for cell in told["cells"].values()})
    ours = sorted({cell.get("ours", cell["commit"]) for cell in told["cells"].values()})
    parts = [
        "# Steering: results\n",
        "Written by `make bench-steering`; what the columns mean: `loadtests/steering/README.md`.",
        "A cost of who missed more than ε stands in brackets and is no win.\n",
        f"{told['at']}, commit {', '.join(commits)} ({OURS} at {', '.join(ours)}); {told['machine']['cores']} cores,",
        f"{told['machine']['memory_gib']} GiB, {told['machine']['cpu']}",
        "(figures are simulated: the machine only decides how long they took).\n",
    ]
    for title, part in groups(told).items():
        parts += [f"## {title}\n", summary(part), "### Each cell: miss · $/oracle\n", each_cell(part)]
    return "\n".join(parts)
