"""``ray start``, leaner and more patient. Run as a program, it takes the arguments of ``ray start``.

*Leaner*: Ray's command line cannot leave out the Ray Client server (a process, and the fixed port
10001) nor any of the dashboard's ten modules, of which Serve's REST API is the only one that Guidevane
calls: eight more processes. Leaving them out saves a third of the CPU time of a start.

*More patient*: the raylet aborts when its dashboard agent has not said within 15 s on which port it
listens, although we said so to both; on two busy cores the agent needs longer to import what it
imports. The answer is a file, so it is written for the agent.

Where a later Ray has renamed what is replaced here, it starts whole, and impatient.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any


def _main() -> None:
    from ray._private import node, services  # noqa: PLC0415 - there is no public way; see above
    from ray.scripts.scripts import cli  # noqa: PLC0415 - Ray is imported by the program, not by who reads the module

    with contextlib.suppress(AttributeError):
        start_process = services.start_ray_process

        def start(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
            match process_type:
                case "dashboard":
                    command = [*command, "--modules-to-load=ServeHead"]
                case "raylet":
                    _say_the_agents_port(command)
                case _:
                    pass
            return start_process(command, process_type, *args, **kwargs)

        services.start_ray_process = start
    if hasattr(node.Node, "start_ray_client_server"):
        node.Node.start_ray_client_server = lambda _node: None
    cli(prog_name="ray")


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
