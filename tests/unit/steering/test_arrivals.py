import gzip

import numpy as np
import pytest
from loadtests.steering import arrivals, workloads

from guidevane.errors import Misconfigured


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "there is no arrival"),
        ("\n\n", "there is no arrival"),
        ("1\ntwo\n", "line 2: 'two' is no number"),
        ("t\nt\n1\n", "line 2: 't' is no number"),
        ("\nt\nt\n1\n", "line 3: 't' is no number"),
        ("t\n", "there is no arrival"),
        ("0.1,0.2\n", "line 1: '0.1,0.2' is no number"),
        ("1,5\n2\n", "line 1: '1,5' is no number"),
        ("1\n-2\n", "line 2: -2 s is negative"),
        ("1\n3\n2\n", "line 3: 2 s is earlier than 3 s"),
        ("1\nnan\n", "line 2: 'nan' is not finite"),
        ("0\n1700000000\n", "days from first to last"),
    ],
)
def test_a_wrong_file_is_refused_by_its_line(tmp_path, lines, says):
    path = tmp_path / "a.csv"
    path.write_text(lines)
    with pytest.raises(Misconfigured, match=says):
        arrivals.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"none\.csv cannot be read"):
        arrivals.read(tmp_path / "none.csv")


def test_a_run_begins_with_the_second_of_its_first_arrival(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"arrival_s\n1700000000.25\n1700000001\n1700000001\n"))
    assert arrivals.read(path).tolist() == pytest.approx([0.25, 1.0, 1.0])


@pytest.mark.parametrize(
    "written",
    [
        "timestamp\n1\n2.5\n",
        '"arrival (s)"\r\n1\r\n2.5\r\n\r\n',
        "\ufeffarrival_s\n1\n2.5",
        "1\n2.5\n  \n",
        "\n \nt\n1\n2.5\n",
    ],
)
def test_a_columns_name_line_ends_of_windows_and_empty_lines_are_passed_over(tmp_path, written):
    path = tmp_path / "a.csv"
    path.write_bytes(written.encode())
    assert arrivals.read(path).tolist() == [0.0, 1.5]


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_a_workload_is_sorted_inside_its_length_near_its_rate_and_the_same_for_one_seed(name):
    made = workloads.named(name)
    once, again, other = (made(rate_per_s=50.0, seconds=1200, seed=seed) for seed in (1, 1, 2))
    assert (once == again).all()
    assert once.size != other.size or (once != other).any()
    assert (np.diff(once) >= 0).all()
    assert once[0] >= 0
    assert once[-1] < 1200
    shape = 1.0 if made.shape is None else made.shape(1200).mean()
    assert once.size / 1200 == pytest.approx(50.0 * shape, rel=0.1)


@pytest.mark.parametrize("scv", [1.0, 4.0, 8.0])
def test_gaps_have_the_stated_squared_coefficient_of_variation(scv):
    gaps = np.diff(workloads.renewal(np.full(4000, 50.0), scv=scv, rng=np.random.default_rng(1)))
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(scv, rel=0.06)


def test_a_renewal_process_follows_its_rate():
    rate = np.concatenate([np.full(500, 10.0), np.zeros(100), np.full(400, 90.0)])
    at = workloads.renewal(rate, scv=1.0, rng=np.random.default_rng(1))
    counts = np.histogram(at, bins=[0, 500, 600, 1000])[0]
    assert counts[0] == pytest.approx(5000, rel=0.05)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(36000, rel=0.05)


def test_faros_jobs_have_the_minutes_of_the_recording():
    at = workloads.faro(0, minutes=3, rng=np.random.default_rng(1))
    assert np.bincount((at // 60).astype(int)) == pytest.approx([957, 1011, 914], abs=120)
