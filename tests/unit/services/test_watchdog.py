"""A call that never returns ends its process; one that returns does not, however many there are."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from guidevane.services.inference.watchdog import Watchdog
dog = Watchdog(0.2)
for _ in range(200):
    with dog:
        threading.Event().wait(0.005)
print("well", flush=True)
with dog:
    threading.Event().wait(60)
"""


def test_a_call_that_hangs_ends_its_process_and_many_short_ones_do_not():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (70, "well\n"), done.stderr
    assert "this replica ends" in done.stderr
