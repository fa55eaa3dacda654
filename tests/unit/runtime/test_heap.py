"""A replica's heap keeps what a batch freed for the next one."""

import subprocess
import sys

import pytest

# In a process of its own: what is kept once is kept for good. In a thread, as replicas compute: it has another heap.
_BATCHES = """
import resource, sys, threading
from guidevane.runtime import heap

def batch():
    # Freed from the last one to the first, so that the end of the heap is free again and again.
    layers = [bytearray(1 << 20) for _ in range(16)]
    while layers:
        layers.pop()

def batches():
    batch()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(50):
        batch()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

if sys.argv[1] == "kept" and not heap.keep():
    print("unknown")
else:
    thread = threading.Thread(target=batches)
    thread.start()
    thread.join()
"""


def _faults(how: str) -> int:
    said = subprocess.run([sys.executable, "-c", _BATCHES, how], capture_output=True, text=True, check=True).stdout
    if said.strip() == "unknown":
        pytest.skip("this C library cannot be told")
    return int(said)


def test_batches_after_the_first_take_next_to_nothing_from_the_kernel():
    pages = 16 * (1 << 20) // 4096
    assert _faults("kept") < pages, "each of fifty batches would take them all"
    assert _faults("left alone") > 10 * pages, "else there is nothing to be kept: see what glibc does now"
