"""What a restarted Ray starts last: when replicas are there and the machine has time, or after half a minute."""

import itertools
import os
import subprocess
import sys

import psutil
import pytest

from guidevane.local import ray_later


def looked(monkeypatch: pytest.MonkeyPatch, percents, there) -> int:
    """Return how often the machine was looked at."""
    seen = []
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: seen.append(interval) or next(percents))
    monkeypatch.setattr(ray_later, "_any", lambda: next(there))
    ray_later.replicas()
    return len(seen)


def test_given_replicas_and_two_seconds_of_time_then_it_is_over(monkeypatch):
    busy_at_first = itertools.chain([99.0] * 5, itertools.repeat(40.0))
    assert looked(monkeypatch, busy_at_first, itertools.repeat(True)) == 9


def test_given_a_moment_of_time_before_replicas_then_it_is_not_over(monkeypatch):
    gaps = itertools.cycle([40.0, 40.0, 40.0, 99.0])
    assert looked(monkeypatch, gaps, itertools.repeat(True)) == 60


def test_given_no_replicas_then_it_is_over_after_half_a_minute(monkeypatch):
    assert looked(monkeypatch, itertools.repeat(1.0), itertools.repeat(False)) == 60


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's name of a process is Linux's")
def test_a_replica_is_known_by_its_name_in_this_session_alone(monkeypatch):
    named = "open('/proc/self/comm', 'w').write('ray::ServeReplica:app:deep'); print('named', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", named], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"named\n"
        assert ray_later._any()
        monkeypatch.setattr(os, "getsid", lambda pid: pid)
        assert not ray_later._any()
    finally:
        child.communicate(b"\n")
