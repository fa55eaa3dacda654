"""``ray start``, without the processes that nothing here talks to.

Run as a program, it takes the arguments of ``ray start``. Ray's command line cannot leave out the Ray
Client server (a process, and the fixed port 10001) nor any of the dashboard's ten modules, of which
Serve's REST API is the only one that Guidevane calls: eight more processes. Leaving them out saves a
third of the CPU time of a start. Where a later Ray has renamed what is replaced here, it starts whole.
"""

from __future__ import annotations

import contextlib
from typing import Any


def _main() -> None:
    from ray._private import node, services  # noqa: PLC0415 - there is no public way; see above
    from ray.scripts.scripts import cli  # noqa: PLC0415 - Ray is imported by the program, not by who reads the module

    with contextlib.suppress(AttributeError):
        start_process = services.start_ray_process

        def start_lean(command: list[str], process_type: str, *args: Any, **kwargs: Any) -> Any:
            only = ["--modules-to-load=ServeHead"] if process_type == "dashboard" else []
            return start_process([*command, *only], process_type, *args, **kwargs)

        services.start_ray_process = start_lean
    if hasattr(node.Node, "start_ray_client_server"):
        node.Node.start_ray_client_server = lambda _node: None
    cli(prog_name="ray")


if __name__ == "__main__":
    _main()
