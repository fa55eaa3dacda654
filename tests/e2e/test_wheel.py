"""What a user installs, used as a user does: the wheel in an empty folder, one module, one command, one Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from guidevane.services.passing import EVENT_ID

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EVENTS = 50
UP_WITHIN_S, DECIDED_WITHIN_S, DOWN_WITHIN_S = 300.0, 60.0, 150.0

MODULE = '''
"""Two members of our own, and nothing to train."""

import numpy as np

from guidevane import Ensemble, Event, Latency, Member, Numeric, Pipeline, Threshold, WeightedMean

PING = {
    "type": "record",
    "name": "net.ping",
    "fields": [{"name": "id", "type": "string"}, {"name": "host", "type": "string"}, {"name": "rtt", "type": "double"}],
}


class Low:
    version = "1"

    def predict(self, matrix):
        return np.where(matrix[:, 0] < 25, 0.9, 0.1)


class Smooth:
    version = "7"

    def predict(self, matrix):
        return 1 / (1 + np.exp((matrix[:, 0].astype(np.float64) - 25) / 5))


pipeline = Pipeline(
    name="ping",
    event=Event("net.ping.v1", schema=PING, key="host", id="id", pii=("host",)),
    features=(Numeric("rtt"),),
    ensemble=Ensemble(
        members=(Member("low", model="my_module:Low"), Member("smooth", model="my_module:Smooth")),
        combine=WeightedMean(),
    ),
    decision=Threshold(0.5, positive="near", negative="far"),
    slo=Latency(p=0.99, within_ms=1000),
    partitions=4,
)
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of a fresh environment: our dependencies, and of us the wheel only."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    # A path in a .pth is looked in, but its own .pth files are not read: the checkout's editable install stays away.
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, env=own_environment())
    return home / "bin"


def own_environment() -> dict[str, str]:
    """Return this environment without what would point at the checkout, or at other people's clusters."""
    ours = ("GUIDEVANE_", "KAFKA_", "RAY_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def author(tmp_path: Path) -> Path:
    folder = tmp_path / "author"
    folder.mkdir()
    (folder / "my_module.py").write_text(MODULE)
    return folder


@pytest.fixture
def up(installed: Path, author: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``guidevane up``, and leave nothing of it behind whatever happens."""
    state = tmp_path / "state"
    command = [installed / "guidevane", "up", "my_module:pipeline", "--state-dir", state]
    with (tmp_path / "up.log").open("wb") as log:
        running = subprocess.Popen(command, cwd=author, env=own_environment(), stdout=log, stderr=log)
        try:
            yield running
        finally:
            running.kill()
            running.wait()
            for left in of_state(state):
                left.kill()


def of_state(state: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GUIDEVANE_STATE_DIR") == str(state):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(path: Path, running: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    deadline = time.monotonic() + UP_WITHIN_S
    while not path.exists():
        assert running.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
        time.sleep(0.2)
    return dict(json.loads(path.read_bytes()))


async def decide(bootstrap: str) -> list[str]:
    """Send events as any producer would; return the ids of what comes out, once there is one for each."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(EVENTS):
            event = {"id": f"e{number}", "host": f"h{number % 7}", "rtt": float(number)}
            await producer.send("ping.events", json.dumps(event).encode(), key=event["host"].encode())
    decided: list[str] = []
    async with AIOKafkaConsumer("ping.decisions", bootstrap_servers=bootstrap, auto_offset_reset="earliest") as reader:
        async with asyncio.timeout(DECIDED_WITHIN_S):
            while len(decided) < EVENTS:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    decided += [dict(record.headers)[EVENT_ID].decode() for record in records]
    return decided


def test_given_the_wheel_then_all_that_runs_is_in_it(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "guidevane"
    wanted = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(package.parent)) for path in wanted} <= held
    for name in (
        "local/kafka-jars.txt",
        "commands/templates/pipeline.py.txt",
        "py.typed",
        "services/fused/__main__.py",
    ):
        assert f"guidevane/{name}" in held
    for folder in (
        "schemas",
        *(f"pipelines/{each}/{part}" for each in ("electricity", "employment") for part in ("models", "data")),
    ):
        assert any(name.startswith(f"guidevane/{folder}/") for name in held), folder
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert not [name for name in held if not name.startswith(("guidevane/", "guidevane-"))]


def test_given_the_wheel_installed_when_it_is_imported_then_it_is_not_the_checkout(installed, author):
    where = [installed / "python", "-c", "import guidevane; print(guidevane.__file__)"]
    done = subprocess.run(where, cwd=author, env=own_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(installed.parent))


def test_given_an_authors_module_when_it_is_up_then_every_event_is_decided_and_ctrl_c_leaves_nothing(up, tmp_path):
    state = tmp_path / "state"
    ends = wait_for(state / "endpoints.json", up, tmp_path / "up.log")

    decided = asyncio.run(decide(str(ends["kafka"])))

    assert sorted(decided) == sorted(f"e{number}" for number in range(EVENTS))
    assert of_state(state), "the rooms carry the mark by which what is left would be found"

    up.send_signal(signal.SIGINT)
    assert up.wait(DOWN_WITHIN_S) == 0, (tmp_path / "up.log").read_text(errors="replace")[-4000:]
    assert [process.cmdline() for process in of_state(state)] == []
    assert not (state / "endpoints.json").exists()
