"""The ensemble level: less for everybody who has to wait, where the replicas that serve now cannot answer all.

That is while they cannot follow any more (their bound is reached), and while those that were asked for do not yet
serve. From level 1 on the inference room serves what waits by the time that it has left (decision 0010). The controller
goes no further: at level 1 each event gets the most that still fits, and a level above it, which leaves a member out
for everybody, would only take good answers away from those for whom there is time. That is for people to set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from guidevane.control.waiting import Intents, Patience, wish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.actions import Set
    from guidevane.control.graph import Graph
    from guidevane.control.observation import StageSeen
    from guidevane.control.plant import Observation
    from guidevane.control.site import Site

LEVEL: Final = "level"
BY_SLACK: Final = 1
_FULL: Final = 0.97
"""From this share of what the replicas can do on, not all is answered in time."""
_CALM: Final = 0.8
_WAITS: Final = 0.1
"""And the level is taken back below that, once what waits is served within this share of the objective."""
# It is raised at once, for whoever does not have to wait is not touched by it; and taken back when it lasts.
_PATIENCE: Final = Patience(up_s=0.0, down_s=15.0)


@dataclass(frozen=True, slots=True)
class Pressure:
    """The member that is pressed most: ``coming_per_s`` of ``able_per_s`` that its ``ready`` replicas can answer."""

    member: str
    coming_per_s: float
    able_per_s: float
    waits_s: float
    ready: int
    starting: int

    @classmethod
    def of(cls, site: Site, graph: Graph, view: Observation, coming_per_s: float, batch: int) -> Pressure:
        """Return it for batches of ``batch``, or the largest that was measured."""
        found = []
        for name in site.names:
            stage = view.stage(name)
            profile = graph.stage(name).on(stage.hardware).profile
            able = stage.ready * profile.throughput(max(min(batch, profile.most), 1))
            waits_s = stage.queue / able if able else float("inf") if stage.queue else 0.0
            found.append(cls(name, coming_per_s, able, waits_s, stage.ready, len(stage.pending)))
        return min(found, key=lambda each: (each.able_per_s, each.member))

    @property
    def over(self) -> bool:
        """Tell whether more comes than can be answered in time."""
        return self.coming_per_s > _FULL * self.able_per_s

    def calm(self, slo_s: float) -> bool:
        """Tell whether all can be answered, with room to spare."""
        return self.coming_per_s < _CALM * self.able_per_s and self.waits_s < _WAITS * slo_s


def levelled(
    site: Site, inference: StageSeen, pressure: Pressure, ready_for_per_s: float, at_us: int, intents: Intents
) -> tuple[list[Set], Intents, tuple[str, ...]]:
    """Return the ``Set`` of the level where it shall change, what to remember, and a word while it is raised.

    Nothing is raised beyond ``site.most_level``, or for a backlog alone: after an outage what waited is answered late,
    as it is without a controller.
    """
    settings: Mapping[str, float] = inference.settings
    now = settings.get(LEVEL)
    # A room that does not say how far it degrades has none that could be set.
    if now is None or site.most_level <= site.level:
        return [], intents, ()
    wanted = now
    if pressure.over:
        wanted = max(now, float(BY_SLACK))
    elif pressure.calm(site.slo_s):
        wanted = float(site.level)
    bound = f", {pressure.starting} starting" if pressure.starting else ""
    reason = (
        f"{pressure.coming_per_s:.1f} events/s come, and {pressure.ready} ready of {pressure.member}{bound} answer "
        f"{pressure.able_per_s:.1f}; forecast {ready_for_per_s:.1f}"
    )
    acts, intents = wish(inference, LEVEL, wanted, reason, _PATIENCE, at_us, intents)
    level = acts[0].value if acts else now
    words = (f"events are served by slack: {pressure.member} is at its bound",) if level > site.level else ()
    return acts, intents, words
