"""Which replica computes a batch: the one with the fewest calls under way."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ray.serve.request_router import FIFOMixin, RequestRouter

if TYPE_CHECKING:
    from ray.serve.request_router import PendingRequest, RunningReplica


class ShortestQueue(FIFOMixin, RequestRouter):  # type: ignore[misc]  # Ray's classes are untyped
    """Every replica is a candidate, and Serve takes the one that this handle has sent the least that is unanswered.

    Serve's default draws two, and takes the better one (power of two choices): right for thousands of small requests
    from many handles. Here a few large batches come from one, and where both are busy a batch waits for a whole other
    one while a third replica idles.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return all of them, in a random order: of equals Serve takes the first."""
        del pending_request
        return [random.sample(candidate_replicas, len(candidate_replicas))]
