"""``ray start``, without the processes that nothing here talks to.

Run as a program, it takes the arguments of ``ray start``. Ray's command line cannot leave out the Ray
Client server (a process, and the fixed port 10001) nor any of the dashboard's ten modules, of which
Serve's REST API is the only one that Guidevane calls: eight more processes. Leaving them out saves a
third of the CPU time of a start. Where a later Ray has renamed what is replaced here, it starts whole.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ray._private import node, services
from ray.scripts.scripts import cli


def _leave_out_what_nobody_calls() -> None:
    with contextlib.suppress(AttributeError):
        start_process = services.start_ray_process

        def start_lean(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
            only = ["--modules-to-load=ServeHead"] if process_type == "dashboard" else []
            return start_process([*command, *only], process_type, *args, **kwargs)

        services.start_ray_process = start_lean
    if hasattr(node.Node, "start_ray_client_server"):
        node.Node.start_ray_client_server = lambda _node: None


if __name__ == "__main__":
    _leave_out_what_nobody_calls()
    cli(prog_name="ray")
