"""What to be ready for whatever the rate is now: nobody knows yet how high this pipeline's traffic goes.

A pipeline that is seen for the first time may get a multiple of what it gets now, and it may do so before any past
could have told. Until what is launched then serves, a start-up passes, and what comes beyond what is ready is
lost. So the highest rate that may come is taken to be ``surprise`` times the opening one at first, and less the longer
nothing like it came. What did come may come at any time again, a little higher, as who is on and off is not equally
high each time, and as suddenly: two minutes of the past are replayed, those that would lose most; what rose slowly is
answered while it rises, and needs little in reserve. The least is kept ready with which either would cost no more
misses than the budget then has: of what came so far, and of as much again (what has lasted for t lasts about t longer:
Gott, Nature 363, 1993). Over hours the budget bears any jump, and nothing is reserved.

Traffic that goes quiet again and again (``lulls``) may come much higher than it did: how much, its bursts so far tell,
the fewer the less. It brings as many events as its mean says, not as its height; and what came after each
lull is not forgotten, and may not spend the whole budget each time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.control.lulls import Lulls
from guidevane.control.outlook import misses
from guidevane.control.table import STEP

if TYPE_CHECKING:
    from guidevane.control.headroom import Headroom
    from guidevane.control.outlook import Outlook

NOTICED_S = 3.0
"""From a jump to the order that answers it."""
_NEVER_QUIET = Lulls()
_BURST = 0.25
"""Less than this share of the highest burst is none: something stirs in a lull."""


@dataclass(frozen=True)
class Fear:
    """How much is feared, and for how long. Times in seconds, and in start-ups of the stage in question.

    ``surprise``: multiple of the opening rate; sure for a while, then fading. ``record``: of what came, or comes now;
    less the longer ago it came (by ``memory_s``). ``use_share`` of the budget may be spent on one jump (headroom
    spends the other half); what is to come after it lasts ``again`` times as long as what was, or ``least_s``.

    Where lulls recur: heights of bursts fall like Pareto's with exponent ``tail`` until they are seen to fall more
    quickly, and ``borne`` is the chance with which the next burst may be higher than what is feared.
    """

    surprise: float = 3.0
    record: float = 1.3
    sure_s: float = 120.0
    sure_startups: float = 4.0
    fade_s: float = 120.0
    fade_startups: float = 6.0
    use_share: float = 0.5
    least_s: float = 300.0
    memory_s: float = 1200.0
    again: float = 0.7
    tail: float = 1.5
    borne: float = 0.05

    def feared_per_s(
        self, opening_per_s: float, rate_per_s: float, passed_s: float, startup_s: float, lulls: Lulls = _NEVER_QUIET
    ) -> float:
        """Return the rate that may come, whatever came so far."""
        return max(self._surprise_per_s(opening_per_s, rate_per_s, passed_s, startup_s), self._after_per_s(lulls))

    def _after_per_s(self, lulls: Lulls) -> float:
        """Return how high traffic may come again; the longer it now has been quiet, or has been back, the less."""
        if not lulls.recur:
            return 0.0
        highest = max(lulls.heights)
        heights = [each for each in lulls.heights if each >= _BURST * highest]
        # Hill's estimate of how the heights' tail falls, with one burst of anybody's. After n lulls the next burst is
        # the highest with 1 / (n + 1), and x times as high as they with x^-falls of it.
        spread = sum(math.log(each / min(heights)) for each in heights)
        falls = max(len(heights) / (1 / self.tail + spread), self.tail)
        times = max(float((1 / (self.borne * (lulls.count + 1))) ** (1 / falls)), 1.0)
        return highest * (1 + (times - 1) * math.exp(-lulls.since_s / self.memory_s))

    def _surprise_per_s(self, opening_per_s: float, rate_per_s: float, passed_s: float, startup_s: float) -> float:
        sure_s = self.sure_s + self.sure_startups * startup_s
        fade_s = self.fade_s + self.fade_startups * startup_s
        times = 1 + (self.surprise - 1) * min(max(1 - (passed_s - sure_s) / fade_s, 0.0), 1.0)
        return max(opening_per_s * times, rate_per_s * self.record)


def reserve(
    outlook: Outlook,
    feared_per_s: float,
    fear: Fear,
    *,
    passed_s: float,
    startup_s: float,
    budget: float,
    epsilon: float,
    lulls: Lulls = _NEVER_QUIET,
) -> float:
    """Return the least rate to be ready for such that a jump to what is feared misses no more than the budget has.

    ``budget``: the events that may miss by what came so far.
    """
    lasting_s = max(fear.again * passed_s, fear.least_s)
    # Who is on and off brings a high rate for as small a share of the time as so far.
    coming = feared_per_s * lasting_s * (lulls.duty if lulls.recur else 1.0)
    bearable = max(fear.use_share * (budget + epsilon * coming), 0.0)
    lag_s = startup_s + NOTICED_S
    ready = feared_per_s * STEP ** -np.arange(_PLACES, -1, -1.0)
    lost = ((each, missed * feared_per_s * lag_s) for each, missed in misses(outlook, ready, feared_per_s))
    # The highest is taken where nothing is bearable: its own plan misses a little.
    return next((each for each, events in lost if events <= bearable), float(ready[-1]))


def again(
    outlook: Outlook,
    headroom: Headroom,
    fear: Fear,
    *,
    startup_s: float,
    hold_s: float,
    bearable: float,
    lulls: Lulls = _NEVER_QUIET,
) -> float:
    """Return the least rate to be ready for such that the worst that came, coming again, misses ``bearable`` events.

    What a slope told in time is told in time again.
    """
    # What came after each lull comes after the next ones, too: it is not forgotten, and each has its share.
    times = lulls.count if lulls.recur else 1
    bearable /= max(fear.again * times, 1.0)
    memory_s, looked_back = fear.memory_s * times, _LONG_BACK if lulls.recur else _LOOKED_BACK
    come, known = headroom.replayed(round(startup_s + NOTICED_S), hold_s, memory_s, looked_back)
    if not come.size:
        return 0.0
    come, known = come * fear.record, known * fear.record
    width = min(_EPISODE_S, come.size)

    def lost(ready_per_s: float) -> float:
        each = outlook.missed(np.maximum(known, ready_per_s), come) * come
        total = np.concatenate(([0.0], np.cumsum(each)))
        return float((total[width:] - total[:-width]).max())

    highest = float(come.max())
    ready = [0.0, *(highest * STEP ** -np.arange(2 * _PLACES, -1, -2.0))]
    enough = bisect_left(ready, True, key=lambda each: lost(each) <= bearable)
    return float(ready[min(enough, len(ready) - 1)])


_EPISODE_S = 120
_LOOKED_BACK, _LONG_BACK = 1800, 3600
_PLACES = 16
"""How many of the table's steps below what is feared are looked at: a third of it is enough for nobody. Below what came
every second step is looked at, down to a twelfth, and none."""
