"""The torch member: some small networks in one. It reads the whole vector and returns one logit a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Nets(nn.Module):
    """``voices`` networks of two hidden layers, each trained for itself, their logits averaged: a deep ensemble.

    >>> Nets(3, voices=2)(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, width: int, hidden: int = 32, voices: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Parallel(voices, size_in, size_out)
            for size_in, size_out in ((width, hidden), (hidden, hidden), (hidden, 1))
        )
        self.drop = nn.Dropout(0.2)

    def voices(self, rows: Tensor) -> Tensor:
        """Return each network's logits [n, voices] of float32 [n, width]."""
        first, second, last = self.layers
        seen = self.drop(torch.relu(first(rows.unsqueeze(0))))
        logits: Tensor = last(self.drop(torch.relu(second(seen))))
        return logits.squeeze(2).T

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [n] of float32 [n, width]."""
        return self.voices(rows).mean(dim=1)


class _Parallel(nn.Module):
    def __init__(self, copies: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = size_in**-0.5
        self.weight = nn.Parameter(torch.empty(copies, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(copies, 1, size_out).uniform_(-bound, bound))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, rows.expand(len(self.weight), -1, -1), self.weight)
