"""Which hardware the stages run on, over time: a move is made when what it would have saved has paid for it.

The rent-or-buy rule (ski rental: Karlin, Manasse, Rudolph and Sleator, 1988): whoever moves as soon as the
regret of having stayed is as large as the cost of moving pays at most twice what the best schedule
would have, whatever the rates do. A move costs the new replicas' start-up, during which the old ones stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.control.table import Row

Kinds: TypeAlias = tuple[str, ...]
"""One name of hardware for each stage."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The hardware in force, and in ``regrets`` what others would have saved so far, in $.

    >>> from guidevane.control.table import Row
    >>> costs = {("k80",): 4.0, ("v100",): 3.0}
    >>> choice, moved = Choice(("k80",)), 0
    >>> while choice.kinds == ("k80",):
    ...     rows = {kinds: Row(50.0, 1.0, (), usd) for kinds, usd in costs.items()}
    ...     choice, moved = choice.after(rows.get, ("v100",), 5.0, startup_s=21.0), moved + 5
    >>> moved, choice.regrets
    (65, ())
    """

    kinds: Kinds
    regrets: tuple[tuple[Kinds, float], ...] = ()

    def after(self, row: Callable[[Kinds], Row | None], best: Kinds, passed_s: float, *, startup_s: float) -> Choice:
        """Return the choice after ``passed_s`` at a rate.

        ``row`` says what each hardware needs for that rate, ``best`` costs least. Where the hardware in force
        cannot keep the objective and ``best`` can, that is moved to at once.
        """
        now, new = row(self.kinds), row(best)
        if best == self.kinds or now is None or new is None:
            return self.weighed(row, now, passed_s, startup_s)
        if new.feasible and not now.feasible:
            return Choice(best)
        known = self if best in dict(self.regrets) else Choice(self.kinds, (*self.regrets, (best, 0.0))[-_CANDIDATES:])
        return known.weighed(row, now, passed_s, startup_s)

    def weighed(self, row: Callable[[Kinds], Row | None], now: Row | None, passed_s: float, startup_s: float) -> Choice:
        """Return the choice after ``passed_s`` with ``now`` in force, its candidates' regrets brought up to date."""
        regrets = []
        for kinds, before in self.regrets:
            new = row(kinds)
            if now is None or new is None or (now.feasible and not new.feasible):
                continue
            saved = now.usd_per_hour - new.usd_per_hour
            regret = max(before + saved * passed_s / 3600, 0.0)
            if saved > 0 and regret > new.usd_per_hour * startup_s / 3600:
                return Choice(kinds)
            if regret > 0:
                regrets.append((kinds, regret))
        return Choice(self.kinds, tuple(regrets))


_CANDIDATES = 4
