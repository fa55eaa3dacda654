# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""``guidevane plan`` and ``guidevane whatif``: what an objective costs, before anything runs."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guidevane.commands.asked import asked_of, document, question_of, refuse, settings_of
from guidevane.commands.cluster import STATE_DIR, StateDir
from guidevane.commands.results import writable, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from urllib.error import HTTPError

    from guidevane.control.question import Answer

_FACTORS = (0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0)
_BAR = 24
_ASK_TIMEOUT_S = 20.0

GraphFile = Annotated[Path, typer.Argument(help="A graph, as JSON: loadtests/steering/README.md documents the form.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def plan(
    graph: GraphFile,
    *,
    slo: Annotated[
        str, typer.Option(help="The end-to-end objective: 300ms, 0.3s; several, what each costs: 80ms,120ms.")
    ],
    rate: Annotated[float | None, typer.Option(help="Events per second to plan for.")] = None,
    arrivals: Annotated[Path | None, typer.Option(help="Or a recording: one arrival time in seconds a line.")] = None,
    scv: Annotated[float, typer.Option(help="Burstiness: squared coefficient of variation of the gaps.")] = 1.0,
    epsilon: Annotated[float, typer.Option(help="The share of events that may miss the objective.")] = 0.01,
    curve: Annotated[bool, typer.Option("--curve", help="Also what tighter and looser objectives cost.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw cost against objective, as SVG.", callback=writable)
    ] = None,
    json: AsJson = False,
) -> None:
    """Say the cheapest replicas, batches and hardware that keep an objective, and whether that is proved.

    What --json writes can be asked further questions: guidevane whatif PLAN.json --slo 80ms.
    """
    written = document(graph)
    recording = None if arrivals is None else str(arrivals.resolve())
    from guidevane.control.asking import figures, seconds

    wanted = [seconds(each) for each in slo.split(",")]
    asked = {"slo_ms": wanted[0] * 1e3, "rate_per_s": rate, "scv": scv, "epsilon": epsilon, "arrivals": recording}
    question = question_of(graph, written, asked)
    from guidevane.control.question import answer
    from guidevane.control.question import curve as costs
    from guidevane.control.space import Infeasible

    several = len(wanted) > 1
    # A curve through one objective goes around it; of several, they are the curve.
    slos = wanted if several else [question.slo_s * factor for factor in _FACTORS] if curve or plot else []
    found, refused = None, None
    try:
        found = answer(question)
    except Infeasible as impossible:
        # What others cost is told before it.
        refused = impossible
    points = costs(question, slos, known=found)
    if refused is not None and not any(each for _, each in points):
        raise refused
    if plot is not None:
        _draw(plot, graph.name, points)
    if json:
        planned = {"infeasible": str(refused)} if found is None else _plain(found)
        _say({"graph": written, "asked": asked, **planned, "curve": [_point(*each) for each in points]})
    else:
        if found is not None:
            proof = "proved the cheapest" if found.plan.proved else f"within {found.plan.gap:.1%} of the cheapest"
            title = f"{graph.name}: {wanted[0] * 1e3:g}ms, {question.trial().rate_per_s:.0f} events/s; {proof}"
            _show(figures(found.forecast), title)
        if points:
            _show_curve(points)
    if refused is not None:
        raise refused


def whatif(
    plan_file: Annotated[
        Path | None,
        typer.Argument(metavar="[PLAN.json]", help="What guidevane plan --json wrote. Without it: what runs now."),
    ] = None,
    *,
    slo: Annotated[str | None, typer.Option(help="Another objective: 80ms.")] = None,
    rate: Annotated[str | None, typer.Option(help="Other traffic: 240 (events per second), or x2.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Do without a member of a quorum; may be repeated.")] = None,
    state_dir: StateDir = STATE_DIR,
    controller: Annotated[
        str | None, typer.Option(help="http://host:port where a controller shows its metrics. Default: by --state-dir.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Say what would become of a plan, or of what runs now, if something changed; and what the plan would be then.

    What runs now is asked of its controller: it answers from the latencies and the arrivals of the last two minutes.
    """
    found = (
        _live(controller, state_dir, slo, rate, drop or []) if plan_file is None else _of(plan_file, slo, rate, drop)
    )
    if json:
        _say(found)
        return
    kept, then = found["as_it_is"], found["then"]
    met = "kept" if kept["miss"] <= found["asked"]["epsilon"] else "missed"
    what = "what runs now" if plan_file is None else "the plan as it is"
    _show(kept, f"With {what}, the objective would be {met}: {kept['miss']:.2%} late")
    if "infeasible" in then:
        typer.echo(f"No plan would keep it: {then['infeasible']}")
        return
    _show(then, f"The plan would be this, {then['usd_per_hour'] - kept['usd_per_hour']:+.2f} USD an hour")
    if "beyond" in then:
        typer.echo(f"It cannot be had here: {then['beyond']}")


def _of(plan_file: Path, slo: str | None, rate: str | None, drop: list[str] | None) -> dict[str, Any]:
    from dataclasses import replace

    from guidevane.control.asking import factor_of, figures, seconds
    from guidevane.control.question import SOON_VISITS, answer, forecast
    from guidevane.control.space import Infeasible

    recorded = document(plan_file)
    if not isinstance(recorded, dict) or not {"graph", "asked", "settings"} <= recorded.keys():
        refuse(f"{plan_file} is no plan", "guidevane plan GRAPH.json --slo 300ms --rate 120 --json > PLAN.json")
    before = question_of(plan_file, recorded["graph"], asked_of(plan_file, recorded["asked"]))
    settings = settings_of(plan_file, recorded["settings"], before.graph)
    then = before if slo is None else replace(before, slo_s=seconds(slo))
    if rate is not None:
        then = then.times(factor_of(rate, before.trial().rate_per_s))
    then = then.without(drop or [])
    kept = forecast(then, [settings[name] for name in then.graph.names])
    try:
        new = _plain(answer(then, most_runs=800, most_visits=SOON_VISITS))
    except Infeasible as impossible:
        new = {"infeasible": str(impossible)}
    return {"asked": {"epsilon": then.epsilon}, "as_it_is": figures(kept), "then": new}


def _live(
    controller: str | None, state_dir: Path, slo: str | None, rate: str | None, drop: list[str]
) -> dict[str, Any]:
    # Not httpx: a third of a second to import, for one question to a room of ours.
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import ProxyHandler, build_opener

    url = controller or _controller(state_dir)
    if url is None:
        refuse(f"what runs under {state_dir} has no controller", "start it without --without controller")
    url = url if "://" in url else f"http://{url}"
    url = f"{url.removesuffix('/').removesuffix('/metrics')}/whatif"
    asked = [(name, value) for name, value in (("slo", slo), ("rate", rate)) if value is not None]
    query = urlencode([*asked, *(("drop", each) for each in drop)])
    try:
        # No proxy of the environment has any business between us and a room of ours.
        with build_opener(ProxyHandler({})).open(f"{url}?{query}", timeout=_ASK_TIMEOUT_S) as said:
            found = loads(said.read())
    except HTTPError as refused:
        found = _refusal(refused)
    except (OSError, ValueError) as wrong:
        refuse(f"the controller at {url} does not answer: {wrong!r:.120}", "see guidevane doctor")
    if not isinstance(found, dict) or "as_it_is" not in found:
        told = found.get("refused", found) if isinstance(found, dict) else found
        refuse(f"the controller at {url} says", str(told))
    return found


def _controller(state_dir: Path) -> str | None:
    """Return where the controller of what runs there listens."""
    try:
        # Without the half second that the whole of it takes to import.
        return str(loads((state_dir / "endpoints.json").read_bytes())["metrics"]["controller"])
    except (OSError, ValueError, KeyError, TypeError):
        from guidevane.local.endpoints import Endpoints

        return Endpoints.load(state_dir).metrics.get("controller")


def _refusal(refused: HTTPError) -> object:
    try:
        return loads(refused.read())
    except ValueError:
        return f"{refused.code} {refused.reason}"


def _plain(found: Answer) -> dict[str, Any]:
    from guidevane.control.asking import figures

    known = {"proved": found.plan.proved, "gap": found.plan.gap, "simulations": found.plan.simulations}
    return {**figures(found.forecast), **known}


def _point(slo_s: float, found: Answer | None) -> dict[str, float | None]:
    return {"slo_ms": round(slo_s * 1e3, 3), "usd_per_hour": None if found is None else found.plan.usd_per_hour}


def _say(document: object) -> None:
    import orjson

    typer.echo(orjson.dumps(document).decode())


def _show(found: Mapping[str, Any], title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from guidevane.commands.table import show_table

    typer.echo(title)
    table = Table(box=None)
    for name in ("stage", "hardware", "replicas", "batch", "busy", "USD/h"):
        table.add_column(name, justify="left" if name in {"stage", "hardware"} else "right")
    for name, each in found["settings"].items():
        cells = (escape(name), escape(each["hardware"]), f"{each['replicas']}", f"{each['batch']}")
        table.add_row(*cells, f"{each['busy']:.0%}", f"{each['usd_per_hour']:.3f}")
    show_table(table)
    p99 = "never for some" if found["p99_ms"] is None else f"{found['p99_ms']:.0f} ms"
    typer.echo(
        f"p99 {p99}, {found['miss']:.2%} late; {found['usd_per_hour']:.2f} USD an hour, "
        f"{found['usd_per_1000']:.3g} per 1,000 decisions"
        + (f"; events wait up to {wait_ms:g} ms for company" if (wait_ms := found.get("fetch_wait_ms")) else "")
        + "\n"
    )


def _draw(path: Path, name: str, points: Sequence[tuple[float, Answer | None]]) -> None:
    from guidevane.profiling.plot import Drawn, draw

    costs = [(slo_s * 1e3, found.plan.usd_per_hour) for slo_s, found in points if found is not None]
    line = Drawn("the cheapest plan", [(slo_ms, usd, usd, usd) for slo_ms, usd in costs if usd > 0])
    write(path, draw(f"{name}: what an objective costs", "objective, milliseconds", "USD an hour", [line]))


def _show_curve(points: Sequence[tuple[float, Answer | None]]) -> None:
    most = max((found.plan.usd_per_hour for _, found in points if found is not None), default=0.0)
    typer.echo("What an objective costs, USD an hour")
    for slo_s, found in points:
        if found is None:
            typer.echo(f"{slo_s * 1e3:8.4g} ms  no plan keeps it")
        else:
            bar = "█" * max(1, round(_BAR * found.plan.usd_per_hour / most)) if most else ""
            typer.echo(f"{slo_s * 1e3:8.4g} ms  {found.plan.usd_per_hour:8.2f}  {bar}")
