"""Ray gone under the inference room: it starts over, unless somebody still scores."""

from __future__ import annotations

import asyncio
import os
import sys

import numpy as np
import pytest

from guidevane.errors import Retryable
from guidevane.local.ports import free_ports
from guidevane.services.inference.lifeline import hold, reach
from guidevane.services.inference.members import Answer

HOLDING = """
import asyncio
from guidevane.errors import Retryable
from guidevane.services.inference.lifeline import hold

class Gone:
    async def ask(self, member, matrix):
        raise Retryable("away")

asyncio.run(hold("127.0.0.1:{port}", Gone(), ["a", "b"], 3, asyncio.Event()))
"""


async def test_a_cluster_that_nobody_serves_is_told_at_once():
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(Retryable, match=f"no Ray at {address}"):
        await reach(address)


async def test_an_address_that_only_ray_understands_is_left_to_ray():
    for address in ("auto", "ray://head:10001", ""):
        await reach(address)


async def test_a_room_whose_ray_and_members_are_gone_ends_so_that_it_is_started_again():
    code = HOLDING.format(port=free_ports(1)[0])
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    async with asyncio.timeout(60):
        assert await child.wait() == os.EX_TEMPFAIL


async def test_a_control_plane_that_restarts_behind_members_that_score_is_no_reason_to_go():
    asked, stop = [], asyncio.Event()

    class Scoring:
        async def ask(self, member, matrix):
            asked.append(member)
            if len(asked) >= 4:
                stop.set()
            return Answer(np.zeros(len(matrix)), "1", 0.0)

    async with asyncio.timeout(30):
        await hold(f"127.0.0.1:{free_ports(1)[0]}", Scoring(), ["a", "b"], 3, stop)
    assert set(asked) == {"a", "b"}
