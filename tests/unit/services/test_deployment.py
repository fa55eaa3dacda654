"""A replica, without a cluster around it: what it loads, what it answers, and where it runs."""

from __future__ import annotations

import inspect
from dataclasses import asdict, replace

import numpy as np
import pytest
from loadtests.live.deploying import BatchingReplica, EmulatedReplica

from guidevane.errors import Misconfigured
from guidevane.pipelines.employment import pipeline
from guidevane.services.inference.replica import MemberReplica, identity_of, specs
from guidevane.testing import LocalMembers

ALL = [spec for together in specs(pipeline).values() for spec in together]


async def test_given_a_member_that_declares_a_gpu_on_a_machine_without_one_then_it_runs_on_the_cpu():
    spec = replace(ALL[0], num_gpus=1.0, device="cuda")
    described = await MemberReplica([asdict(spec)]).describe()
    assert (described["devices"], described["versions"]) == ({spec.name: "cpu"}, {spec.name: "1"})


async def test_given_the_whole_vector_then_each_member_takes_its_own_columns_and_answers_as_a_local_member_does():
    matrix = np.random.default_rng(1).integers(0, 3, size=(70, pipeline.vector.width)).astype(np.float32)
    local = LocalMembers(pipeline)
    replica = MemberReplica([asdict(spec) for spec in ALL])
    names = [spec.name for spec in reversed(ALL)]
    for name, said in zip(names, await replica.predict(matrix, names), strict=True):
        assert said.scores is not None
        assert said.scores.tobytes() == (await local.ask(name, matrix)).scores.tobytes()
        assert (said.version, said.failed) == ("1", "")
        assert said.busy_s > 0


async def test_given_a_member_that_raises_then_those_beside_it_answer_all_the_same():
    deep, wide, _ = ALL
    short = replace(wide, places=(0,), warm_up=())
    first, second = await MemberReplica([asdict(short), asdict(deep)]).predict(
        np.zeros((2, pipeline.vector.width), dtype=np.float32), [short.name, deep.name]
    )
    assert first.scores is None
    assert first.failed.startswith(f"{short.name}: ")
    assert second.scores is not None


def test_given_another_model_then_the_replica_has_another_identity():
    spec = ALL[0]
    assert identity_of([spec]) == identity_of([replace(spec)])
    assert identity_of([spec]) != identity_of([replace(spec, model="models:/employment-wide/2")])
    assert identity_of([spec]) != identity_of([spec, ALL[1]])
    assert spec.model.startswith(f"models:/employment-{spec.name}/")


@pytest.mark.parametrize("emulated", [EmulatedReplica, BatchingReplica])
def test_given_the_live_benchs_replicas_then_rooms_can_ask_them_as_they_ask_ours(emulated: type) -> None:
    ours, theirs = (inspect.signature(each.predict).parameters for each in (MemberReplica, emulated))
    assert {name: each.kind for name, each in ours.items()} == {name: each.kind for name, each in theirs.items()}


class Heavy:
    """A model whose weights are nowhere."""

    def __init__(self) -> None:
        raise FileNotFoundError("weights.pt is not here")


def test_given_a_member_that_cannot_be_loaded_then_the_replica_says_which_and_why() -> None:
    spec = replace(ALL[0], name="heavy", model=f"{__name__}:Heavy")
    with pytest.raises(Misconfigured, match=r"member heavy cannot be loaded: FileNotFoundError\('weights.pt"):
        MemberReplica([asdict(spec)])
