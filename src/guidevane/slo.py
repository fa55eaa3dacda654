"""The objective: how late is late, how often it may be, and what gives where it cannot be kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guidevane.word import word


@word
class Latency:
    """At most ``budget`` of the events may take longer than ``within_ms``, end to end.

    ``p`` is the percentile that is shown and compared; ``budget`` defaults to ``1 - p``.
    Late, shed and failed events all count as misses.

    >>> Latency(p=0.99, within_ms=200).within_us
    200000
    """

    p: Annotated[float, Field(gt=0, lt=1)] = 0.99
    within_ms: Annotated[float, Field(gt=0)] = 200.0
    budget: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def within_us(self) -> int:
        """Return the objective in microseconds."""
        return int(self.within_ms * 1000)

    @property
    def allowed(self) -> float:
        """Return the share of events that may miss, 0-1."""
        return self.budget if self.budget is not None else 1 - self.p

    def met(self, missed: int, of: int) -> bool:
        """Tell whether ``missed`` of ``of`` events stay within the budget; nothing happened counts as met.

        >>> Latency(p=0.99).met(1, 100), Latency(p=0.99).met(2, 100)
        (True, False)
        """
        # Compared as counts: 1 - 0.99 is a hair above 0.01 in floats, and 1 of 100 must pass.
        return missed <= self.allowed * of + 1e-9


@word
class Degrade:
    """What the inference room may leave out of an answer, so that the answer comes in time.

    ``level`` is where it starts; the controller, or a person, sets another one while it runs (``level`` of room
    ``inference`` on the control topic). At 0 nothing is left out: members are asked, and waited for as long as an
    answer is in time. From 1 on, what has to wait for members is served by the time that it has left: by all members,
    by those that will be in time (a quorum at least; the least accurate per millisecond goes first), by the
    ensemble's ``variant``, by the decision's ``fallback``; and what can no longer be in time is shed before anything
    is computed. Each level above 1 leaves one member more out for everybody, down to the quorum, then all but the
    variant, then all.

    ``most`` is the highest level that the controller sets by itself, while more comes than the replicas that serve can
    answer in time: 1, or 0 where late and whole is better than in time and less.

    ``group_bound`` is by how much the share of events that go without a model's answer may be greater in one protected
    group than among all, and the same for degraded ones, 0 to 1: who would exceed it is served before others, or late.

    ``bridge_share`` is how large a share of the events, 0 to 1, may go without a member because more came than replicas
    stood ready for, while others start: the controller keeps so much less in reserve. At 0 whoever a jump overtakes is
    taken for missed; so it is where ``most`` is 0, or no quorum lets an event go without a member.

    >>> Degrade(level=1, group_bound=0.02)
    Degrade(level=1, most=1, group_bound=0.02, bridge_share=0.05)
    """

    level: Annotated[int, Field(ge=0)] = 0
    most: Annotated[int, Field(ge=0, le=1)] = 1
    group_bound: Annotated[float, Field(ge=0, le=1)] = 0.05
    bridge_share: Annotated[float, Field(ge=0, le=1)] = 0.05
