"""Where a batch is computed, by the router as Serve hands it to the process that asks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from ray.serve.config import RequestRouterConfig

from guidevane.services.inference import placing
from guidevane.services.inference.routing import ShortestQueue


async def test_given_the_router_that_serve_hands_on_by_value_then_it_knows_which_calls_are_over():
    # Pickled with its whole module and read again, as a handle's process gets it.
    router = RequestRouterConfig(request_router_class=ShortestQueue).get_request_router_class()
    here = SimpleNamespace(_deployment_id=SimpleNamespace(name="deep"))
    replicas = [SimpleNamespace(replica_id="first"), SimpleNamespace(replica_id="second")]
    matrices = [np.zeros((1, 2)), np.zeros((2, 2)), np.zeros((3, 2))]

    async def placed(matrix) -> str:
        ((only,),) = await router.choose_replicas(here, replicas, SimpleNamespace(args=[matrix]))
        return only.replica_id

    first, second = [await placed(matrix) for matrix in matrices[:2]]
    placing.PLACING.over(placing.key_of("deep", matrices[1]))
    try:
        assert {first, second} == {"first", "second"}
        # Who has none under way, however often it was asked before.
        assert [await placed(matrices[2]) for _ in range(4)] == [second] * 4
    finally:
        for matrix in matrices:
            placing.PLACING.over(placing.key_of("deep", matrix))
