"""The two neural members. Both read encoder results in the order of their ``inputs`` and return one logit a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


class Wide(nn.Module):
    """Wide and deep (Cheng et al., 2016): a linear model, plus the mean of ``voices`` small networks in one.

    The first columns are places for embedding tables of the given ``cardinalities``, the other ``dense`` columns are
    numbers. The networks share the tables and are trained each for itself, as a deep ensemble is.
    """

    def __init__(
        self, cardinalities: Sequence[int], dense: int, embedding: int = 8, hidden: int = 64, voices: int = 16
    ) -> None:
        super().__init__()
        self.wide_tables = nn.ModuleList(nn.Embedding(size, 1) for size in cardinalities)
        self.tables = nn.ModuleList(nn.Embedding(size, embedding) for size in cardinalities)
        self.wide = nn.Linear(dense, 1)
        self.deep = nn.Sequential(
            _Parallel(voices, dense + embedding * len(cardinalities), hidden),
            nn.ReLU(),
            nn.Dropout(0.1),
            _Parallel(voices, hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.1),
            _Parallel(voices, hidden, 1),
        )

    def voices(self, rows: Tensor) -> Tensor:
        """Return each network's logits [n, voices] of float32 [n, places + dense]."""
        places, dense = rows[:, : len(self.tables)].long(), rows[:, len(self.tables) :]
        looked_up = [table(places[:, index]) for index, table in enumerate(self.tables)]
        wide = self.wide(dense)
        for index, table in enumerate(self.wide_tables):
            wide = wide + table(places[:, index])
        deep = self.deep(torch.cat([dense, *looked_up], dim=1).unsqueeze(0))
        logits: Tensor = wide + deep.squeeze(2).T
        return logits

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [n] of float32 [n, places + dense]."""
        return self.voices(rows).mean(dim=1)


class Deep(nn.Module):
    """A small transformer over the categorical columns, one token a column (after TabTransformer, Huang et al., 2020).

    Every column is a place in the table of its own cardinality.
    """

    def __init__(self, cardinalities: Sequence[int], size: int = 32, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        starts = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
        self.register_buffer("starts", starts, persistent=False)
        self.starts: Tensor
        self.table = nn.Embedding(sum(cardinalities), size)
        self.answer = nn.Parameter(torch.zeros(1, 1, size))
        self.layers = nn.ModuleList(_Layer(size, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, 1)

    def voices(self, rows: Tensor) -> Tensor:
        """Return logits [n, 1] of float32 [n, columns]."""
        tokens = self.table(rows.long() + self.starts)
        tokens = torch.cat([self.answer.expand(len(rows), 1, -1), tokens], dim=1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens)
        # Of the last layer only the answer is read, so only the answer is computed.
        answer = self.layers[-1](tokens[:, :1], tokens)
        logits: Tensor = self.head(self.norm(answer[:, 0]))
        return logits

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits [n] of float32 [n, columns]."""
        return self.voices(rows).squeeze(1)


class _Parallel(nn.Module):
    def __init__(self, copies: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = size_in**-0.5
        self.weight = nn.Parameter(torch.empty(copies, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(copies, 1, size_out).uniform_(-bound, bound))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, rows.expand(len(self.weight), -1, -1), self.weight)


class _Layer(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(size)
        self.ask = nn.Linear(size, size)
        self.tell = nn.Linear(size, 2 * size)
        self.out = nn.Linear(size, size)
        self.between = nn.LayerNorm(size)
        self.think = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, asking: Tensor, tokens: Tensor) -> Tensor:
        rows, length, size = tokens.shape
        told = self.tell(self.before(tokens)).view(rows, length, 2, self.heads, size // self.heads)
        key, value = told.permute(2, 0, 3, 1, 4)
        asked = self.ask(self.before(asking)).view(rows, -1, self.heads, size // self.heads).transpose(1, 2)
        seen = functional.scaled_dot_product_attention(asked, key, value)
        mixed = asking + self.out(seen.transpose(1, 2).reshape(asking.shape))
        thought: Tensor = mixed + self.think(self.between(mixed))
        return thought
