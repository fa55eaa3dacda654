"""Given loops over arrays, when they run as machine code, then numba is needed once, and broken code is never run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from guidevane.compiled.function import compiled

LOOPS = '''
"""A module of somebody's."""
from __future__ import annotations
import numpy as np
import numpy.typing as npt
from guidevane.compiled.function import compiled

@compiled
def _more(value: float, by: float) -> float:
    return value * by + 1.0

@compiled
def grow(
    values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_], by: float, twice: bool, out: npt.NDArray[np.int32]
) -> int:
    count = 0
    for at in range(len(values)):
        if chosen[at]:
            out[count] = int(_more(values[at], 2.0 * by if twice else by))
            count += 1
    return count
'''
USE = """
import sys
if sys.argv[1] == "without":
    sys.modules["numba"] = None
import numpy as np
import loops
out = np.zeros(3, np.int32)
count = loops.grow(np.array([1.0, 5.0, 7.0]), np.array([True, False, True]), 3.0, True, out)
print(count, *out, "numba" in sys.modules and sys.modules["numba"] is not None)
"""


def use(folder: Path, how: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{folder}:{':'.join(sys.path)}", "HOME": str(folder / "home"), **environment}
    return subprocess.run(
        [sys.executable, "-B", "-c", USE, how], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Return a folder with loops that a process has compiled, and what that process said."""
    folder = tmp_path_factory.mktemp("used")
    (folder / "loops.py").write_text(LOOPS)
    return folder, use(folder, "with")


@pytest.fixture
def folder(used, tmp_path):
    return shutil.copytree(used[0], tmp_path, dirs_exist_ok=True)


def kept(folder: Path) -> Path:
    (found,) = folder.rglob("loops.grow.o")
    return found


def test_what_one_process_compiled_the_next_runs_without_numba(used, folder):
    second = use(folder, "without")

    assert used[1].stdout == "2 7 43 0 True\n", used[1].stderr
    assert second.stdout == "2 7 43 0 False\n", second.stderr


@pytest.mark.parametrize(
    "spoil",
    [lambda code: code[:-1], lambda code: code[:40] + bytes([code[40] ^ 255]) + code[41:], lambda _: b""],
    ids=["cut", "changed", "empty"],
)
def test_machine_code_that_is_not_what_was_kept_is_not_run(folder, spoil):
    kept(folder).write_bytes(spoil(kept(folder).read_bytes()))

    assert "import of numba" in use(folder, "without").stderr


def test_another_source_is_compiled_anew_where_only_a_helper_changed(folder):
    (folder / "loops.py").write_text(LOOPS.replace("+ 1.0", "+ 2.0"))

    assert use(folder, "with").stdout == "2 8 44 0 True\n"
    assert use(folder, "without").stdout == "2 8 44 0 False\n"


def test_where_nothing_can_be_kept_beside_the_source_a_persons_cache_keeps_it(folder):
    shutil.rmtree(folder / "__pycache__")
    (folder / "__pycache__").write_text("a file where a folder should be")

    first, second = use(folder, "with"), use(folder, "without")

    assert (first.stdout, second.stdout) == ("2 7 43 0 True\n", "2 7 43 0 False\n"), second.stderr
    assert kept(folder).parent == folder / "home" / ".cache" / "guidevane"


def test_where_nothing_can_be_kept_at_all_it_runs(folder):
    shutil.rmtree(folder / "__pycache__")
    (folder / "__pycache__").write_text("a file where a folder should be")
    (folder / "home").write_text("nor here")

    assert use(folder, "with").stdout == "2 7 43 0 True\n"


@compiled
def total(values: npt.NDArray[np.float64]) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


@compiled
def sums(values: npt.NDArray[np.float64]) -> int:
    return len(np.cumsum(values))


@compiled
def share(values: npt.NDArray[np.int64], of: int) -> int:
    return values[0] // of


@pytest.mark.parametrize(
    "values", [np.zeros(3, np.float32), np.zeros((2, 2)), np.zeros(3, ">f8")], ids=["other type", "square", "swapped"]
)
def test_an_array_that_is_not_what_the_loop_reads_is_refused_by_name(values):
    with pytest.raises(TypeError, match="values: wants an array of float64 in one dimension"):
        total(values)


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        total(np.zeros(6)[::2])


def test_an_empty_array_has_a_sum():
    assert total(np.zeros(0)) == 0.0


@pytest.mark.parametrize(("loop", "arguments"), [(sums, (np.ones(2),)), (share, (np.ones(2, np.int64), 2))])
def test_a_loop_that_makes_arrays_or_may_raise_is_refused_when_it_is_compiled(loop, arguments):
    with pytest.raises(TypeError, match="let it make no arrays, and raise nothing"):
        loop(*arguments)
