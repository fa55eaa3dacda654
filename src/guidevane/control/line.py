"""Latency against batch size, learned from live batches alone, where nobody measured a profile."""

from __future__ import annotations

from dataclasses import dataclass, replace

_AT_ONCE = 25
"""Batches of one second are not independent: so many count at most."""
_PRIOR_ROWS, _PRIOR_WEIGHT = 8.0, 0.05
"""The prior: the fixed part is that of so many rows; it weighs as much as a twentieth of a batch."""
_FIXED_S, _PER_ROW_S = 0.005, 0.0006
_DOUBT = 0.001
_LEAST_S = 1e-7


@dataclass(frozen=True, slots=True)
class Line:
    """A batch of b rows takes ``fixed_s + per_row_s`` b: recursive least squares on the relative error.

    Which is, for errors that are not large, the error of the log-latency: a batch of one row counts as much as one of
    a hundred. It is linear in both parts, with exponential forgetting (Ljung, System Identification, 1999, section
    11.2), here by its sums; neither part is ever negative. What sizes of one kind cannot tell, the prior
    decides: the fixed part is that of eight rows. Before the first batch it takes 5 ms, and 0.6 ms a row.

    >>> line = Line()
    >>> for _ in range(30):
    ...     line = line.learn(1, 0.011, 20).learn(64, 0.074, 20)
    >>> round(line.fixed_s, 3), round(line.per_row_s, 4)
    (0.01, 0.001)
    """

    squares: tuple[float, float, float] = (0.0, 0.0, 0.0)
    products: tuple[float, float] = (0.0, 0.0)
    batches: float = 0.0
    forgetting: float = 0.999

    @property
    def fixed_s(self) -> float:
        """Return what a batch of any size takes at least."""
        return self._parts()[0]

    @property
    def per_row_s(self) -> float:
        """Return what each row adds."""
        return self._parts()[1]

    def latency_s(self, batch: float) -> float:
        """Return the believed service time of a batch."""
        fixed_s, per_row_s = self._parts()
        return fixed_s + per_row_s * batch

    def learn(self, batch: float, seconds: float, count: int = 1) -> Line:
        """Take in ``count`` batches of about one size and their mean service time; return the new belief."""
        if count < 1 or seconds <= 0 or batch <= 0:
            return self
        weight = min(count, _AT_ONCE)
        forget = self.forgetting**weight
        one, rows = 1 / seconds, batch / seconds
        ones, both, squared = (each * forget for each in self.squares)
        return replace(
            self,
            squares=(ones + weight * one * one, both + weight * one * rows, squared + weight * rows * rows),
            products=(self.products[0] * forget + weight * one, self.products[1] * forget + weight * rows),
            batches=self.batches * forget + count,
        )

    def doubted(self) -> Line:
        """Return the same line, hardly believed: another model answers, and is to be learned soon."""
        ones, both, rows = (each * _DOUBT for each in self.squares)
        return replace(
            self,
            squares=(ones, both, rows),
            products=(self.products[0] * _DOUBT, self.products[1] * _DOUBT),
            batches=0.0,
        )

    def _parts(self) -> tuple[float, float]:
        ones, both, rows = self.squares
        one, row = self.products
        if not ones:
            return _FIXED_S, _PER_ROW_S
        # As a batch that says (fixed - 8 x per row) is nothing beside what batches take.
        scale = _PRIOR_WEIGHT * (one / self._weight()) ** 2
        a, b, c = ones + scale, both - scale * _PRIOR_ROWS, rows + scale * _PRIOR_ROWS**2
        determinant = a * c - b * b
        fixed_s, per_row_s = (one * c - row * b) / determinant, (row * a - one * b) / determinant
        if fixed_s < _LEAST_S:
            fixed_s, per_row_s = _LEAST_S, row / rows
        elif per_row_s < _LEAST_S:
            fixed_s, per_row_s = one / ones, _LEAST_S
        return fixed_s, per_row_s

    def _weight(self) -> float:
        # Of batches of about one time s, squares sum to n / s^2 and products to n / s.
        return self.products[0] ** 2 / self.squares[0]
