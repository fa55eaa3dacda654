"""``ray start``, leaner, more patient, and in the order in which it is needed.

Run as a program, it takes the arguments of ``ray start``; ``--replicas-first`` before them says that events wait.

*Leaner*: Ray's command line cannot leave out the Ray Client server (a process, and the fixed port
10001) nor any of the dashboard's ten modules, of which Serve's REST API is the only one that Guidevane
calls: eight more processes. Leaving them out saves a third of the CPU time of a start. Of its own commands one is
needed; for three others it imports Serve, jobs and state, half of what it takes to import.

*More patient*: the raylet aborts when its dashboard agent has not said within 15 s on which port it
listens, although we said so to both; on two busy cores the agent needs longer to import what it
imports. The answer is a file, so it is written for the agent.

*In order*: Ray starts its dashboard before the raylet, without which there are no replicas, and the agent with it: a
fourth of the CPU time of a start, for Serve's REST API. Where a cluster died under load, that comes when the machine
has time for it.

Where a later Ray has renamed what is replaced here, it starts whole, impatient, and in its own order.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

_OTHER_COMMANDS = ("ray.serve.scripts", "ray.dashboard.modules.job.cli", "ray.util.state.state_cli")
_FIRST = "--replicas-first"
_AGENT = "--dashboard_agent_command="
_LATER = Path(__file__).with_name("ray_later.py")


def _main() -> None:
    # To who imports them they are not there, for which Ray's command line is prepared.
    sys.modules.update(dict.fromkeys(_OTHER_COMMANDS))  # type: ignore[arg-type]
    from ray._private import node, services  # noqa: PLC0415 - there is no public way; see above
    from ray.scripts.scripts import cli  # noqa: PLC0415 - Ray is imported by the program, not by who reads the module

    replicas_first = _FIRST in sys.argv
    if replicas_first:
        sys.argv.remove(_FIRST)
    with contextlib.suppress(AttributeError):
        start_process = services.start_ray_process

        def start(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
            match process_type:
                case "dashboard":
                    command = [*command, "--modules-to-load=ServeHead"]
                case "raylet":
                    _say_the_agents_port(command)
                    if replicas_first:
                        command = [_later(each) for each in command]
                case _:
                    pass
            return start_process(command, process_type, *args, **kwargs)

        services.start_ray_process = start
        if replicas_first:
            _dashboard_last(node.Node)
    if hasattr(node.Node, "start_ray_client_server"):
        node.Node.start_ray_client_server = lambda _node: None
    cli(prog_name="ray")


def _dashboard_last(kind: Any) -> None:
    from guidevane.local.ray_later import replicas  # noqa: PLC0415 - as above

    start_dashboard, start_others = kind.start_api_server, kind.start_ray_processes
    asked: dict[str, Any] = {}

    def start_later(_node: Any, **kwargs: Any) -> None:
        asked.update(kwargs)

    def start_all(started: Any) -> None:
        start_others(started)
        if asked:
            replicas()
            start_dashboard(started, **asked)

    kind.start_api_server, kind.start_ray_processes = start_later, start_all


def _later(argument: str) -> str:
    """Let the raylet, one of whose arguments is the agent's command, start the agent when there is time for it."""
    if not argument.startswith(_AGENT):
        return argument
    later = subprocess.list2cmdline([sys.executable, "-P", str(_LATER)])
    return f"{_AGENT}{later} {argument.removeprefix(_AGENT)}"


def _say_the_agents_port(raylet: list[str]) -> None:
    said, _ = _arguments("--dashboard-agent-listen-port").parse_known_args(sys.argv[1:])
    told, _ = _arguments("--session_dir", "--node_id").parse_known_args(raylet[1:])
    if said.dashboard_agent_listen_port and told.session_dir and told.node_id:
        name = f"dashboard_agent_listen_port_{told.node_id}"
        Path(told.session_dir, name).write_text(said.dashboard_agent_listen_port, encoding="ascii")


def _arguments(*names: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(name)
    return parser


if __name__ == "__main__":
    _main()
