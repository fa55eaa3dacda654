"""Which replica computes a batch: the one with the fewest calls under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.serve.request_router import RequestRouter

# The module, not what is in it: Serve hands a router's module on by value (cloudpickle), and a copy of the counts would
# be told of no call's end.
from guidevane.services.inference import placing

if TYPE_CHECKING:
    from ray.serve.request_router import PendingRequest, RunningReplica


class ShortestQueue(RequestRouter):  # type: ignore[misc]  # Ray's classes are untyped
    """The replica with the fewest calls of this process.

    Serve's default draws two, and takes the one that it believes to have less: right for thousands of small requests
    from many handles. Here a few large batches come from one, and where both are busy a batch waits for a whole other
    one while a third replica idles. And what Serve 2.60 believes is not so on its gRPC path, where nobody reads a call
    to its end: four calls at a time, for four replicas, waited for up to three others (12 rows a second instead of
    21). So calls are counted by who makes them: ``ServedMembers`` says when one is over.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the one to take."""
        by_id = {each.replica_id: each for each in candidate_replicas}
        if not by_id or pending_request is None or not pending_request.args:
            return [candidate_replicas]
        call = placing.key_of(self._deployment_id.name, pending_request.args[0])
        return [[by_id[placing.PLACING.place(call, list(by_id))]]]
