"""A replica, without a cluster around it: what it loads, what it answers, and where it runs."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from guidevane.pipelines.employment import pipeline
from guidevane.services.inference.deployment import MemberReplica, specs
from guidevane.testing import LocalMembers


async def test_given_a_member_that_declares_a_gpu_on_a_machine_without_one_then_it_runs_on_the_cpu():
    spec = replace(specs(pipeline)[0], num_gpus=1.0, device="cuda")
    described = await MemberReplica(asdict(spec)).describe()
    assert (described["device"], described["version"]) == ("cpu", "1")


async def test_given_the_whole_vector_then_a_replica_takes_its_own_columns_and_answers_as_a_local_member_does():
    matrix = np.random.default_rng(1).integers(0, 3, size=(70, pipeline.vector.width)).astype(np.float32)
    local = LocalMembers(pipeline)
    for spec in specs(pipeline):
        scores, version, busy_s = await MemberReplica(asdict(spec)).predict(matrix)
        assert scores.tobytes() == (await local.ask(spec.name, matrix)).scores.tobytes()
        assert version == "1"
        assert busy_s > 0


def test_given_another_model_then_the_spec_has_another_identity():
    spec = specs(pipeline)[0]
    assert spec.identity == replace(spec).identity
    assert spec.identity != replace(spec, model="models:/employment-wide/2").identity
    assert spec.model == "models:/employment-wide/1"
