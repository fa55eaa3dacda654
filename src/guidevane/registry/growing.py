"""Tiles of other sizes, where this machine gives the very same bytes with them.

One shape for every call makes a score independent of its batch (:mod:`guidevane.registry.tiled`), and costs: ten rows
are computed as sixty-four, and 256 in four calls. Where a library adds up in the same order whatever the shape, that
is for nothing; whether it does depends on the model, the machine and the library, so it is looked at where it
matters, on the rows that come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guidevane.clock import SystemClock
from guidevane.errors import Misconfigured
from guidevane.registry.tiled import Tiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guidevane.clock import Clock
    from guidevane.registry.predictor import Predictor

SURE = 4096
"""So many scores must have been the same, to the byte, before a size is used. Kernels differ by shape, not by luck:
where two did, one row in ten had other bytes."""
EVERY = 4
"""One call in so many, at most, is also tried with the other size: nobody shall wait for an answer twice as long
meanwhile."""
_MOST_SPARE_S = 0.25
_SHARE_OF_BUSY = 0.01
_PAUSE_OF_CALL = 0.25
"""What is kept for trials at most, what share of computing they may take, how long a pause is, of the call before."""


class Spare:
    """The seconds that trials may take: those in which nothing is computed, and a hundredth of the others.

    A pause counts where it is longer than a quarter of the call before it: shorter ones are a call's way to a member
    that others wait for. None counts while ``pressed`` is set, which whoever calls does when events go without this
    member because it has too much to do. A quarter of a second is kept at most. So trials take next to nothing of a
    member that has too much to do; and one that always has learns all the same, slowly.

    >>> from guidevane.testing import ManualClock
    >>> clock = ManualClock()
    >>> spare = Spare(clock)
    >>> spare.left_s = 0.0
    >>> spare.begins(), clock.advance(0.1), spare.ends(), round(spare.left_s, 3)
    (None, None, None, 0.001)
    >>> clock.advance(0.2), spare.begins(), round(spare.left_s, 3)
    (None, None, 0.201)
    >>> spare.pressed = True
    >>> spare.ends(), clock.advance(0.2), spare.begins(), round(spare.left_s, 3)
    (None, None, None, 0.201)
    """

    def __init__(self, clock: Clock) -> None:
        self.pressed = False
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._took_s = 0.0
        self.left_s = _MOST_SPARE_S

    def begins(self) -> None:
        """Note that a call begins."""
        paused_s = self._passed_s()
        if not self.pressed and paused_s > _PAUSE_OF_CALL * self._took_s:
            self.left_s = min(self.left_s + paused_s, _MOST_SPARE_S)

    def ends(self) -> None:
        """Note that it is over."""
        self._took_s = self._passed_s()
        self.left_s = min(self.left_s + _SHARE_OF_BUSY * self._took_s, _MOST_SPARE_S)

    def _passed_s(self) -> float:
        since_s, self._since_s = self._since_s, self._clock.monotonic_s()
        return self._since_s - since_s


class Growing:
    """A tiled predictor that also calls its model with half a tile, and with 2, 4 and 8 of them at once.

    Each size is first tried beside the tiles, on rows that came, turned so that all of its places are seen; meanwhile
    the tiles answer. One other byte, and the size is never used again. So an answer is always what tiles give. A
    member that has much to do spends little on trials (``spare``).
    """

    def __init__(
        self,
        predictor: Predictor,
        tile: int = 64,
        *,
        sure: int = SURE,
        every: int = EVERY,
        clock: Clock | None = None,
    ) -> None:
        self.tile = tile
        self._predictor = predictor
        self._tiled = Tiled(predictor, tile)
        self._sure = sure
        self._every = every
        self._calls = 0
        self._clock = clock or SystemClock()
        self.spare = Spare(self._clock)
        halves = [] if tile % 2 else [tile // 2]
        # How many scores of each size were the same so far; one that was not is no longer here.
        self._alike = dict.fromkeys([*halves, *(tile * n for n in (2, 4, 8))], 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes, beside the tile, that are known to give the same bytes."""
        return tuple(sorted(size for size, alike in self._alike.items() if alike >= self._sure))

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n] of float32[n, d]. What the model raises passes through.

        Raises ``Misconfigured`` where the model gives other than one score a row.
        """
        self.spare.begins()
        try:
            return self._scores(matrix)
        finally:
            self.spare.ends()

    def _scores(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        size = self._size(len(matrix))
        if size is None:
            return self._tiled.predict(matrix)
        scores = self._called(matrix[:size], size)
        return scores if len(matrix) <= size else np.concatenate([scores, self._scores(matrix[size:])])

    def _size(self, rows: int) -> int | None:
        """Return the size to call the model with next, of those not ruled out; ``None`` where the tile is best."""
        if rows <= self.tile:
            half = self.tile // 2
            return half if rows <= half and half in self._alike else None
        # No more padding than tiles would have.
        most = -(-rows // self.tile) * self.tile
        return max((size for size in self._alike if self.tile < size <= most), default=None)

    def _called(self, matrix: NDArray[np.float32], size: int) -> NDArray[np.float64]:
        if self._alike[size] < self._sure:
            scores = self._tiled.predict(matrix)
            self._calls += 1
            if self._calls >= self._every and self.spare.left_s > 0.0:
                self._calls, began_s = 0, self._clock.monotonic_s()
                self._try(size, matrix, scores)
                self.spare.left_s -= self._clock.monotonic_s() - began_s
            return scores
        part = matrix
        if len(matrix) < size:
            part = np.zeros((size, matrix.shape[1]), dtype=np.float32)
            part[: len(matrix)] = matrix
        said = self._predictor.predict(part)
        if said.shape != (size,):
            raise Misconfigured(f"{self._predictor.version}: scores of shape {said.shape} for {size} events")
        return said[: len(matrix)]

    def _try(self, size: int, matrix: NDArray[np.float32], scores: NDArray[np.float64]) -> None:
        """Compare one call of this size with what the tiles said of the same rows."""
        if not len(matrix) or (matrix == matrix[0]).all():
            # Rows that are all alike (a warm-up's zeros) tell nothing.
            return
        places = (np.arange(size) + self._alike[size] // size) % len(matrix)
        try:
            said = self._predictor.predict(np.ascontiguousarray(matrix[places]))
        except Exception:  # noqa: BLE001 - an author's model may raise anything, and the tiles have answered
            said = scores[:0]
        if said.tobytes() == scores[places].tobytes():
            self._alike[size] += size
        else:
            del self._alike[size]
