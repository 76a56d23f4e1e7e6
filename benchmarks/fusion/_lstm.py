"""SeqGAN's LSTM as oracle and generator: log-probs of given texts, sampling, and ends to their beginnings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_env.lm.sampling import sample

VOCABULARY, WIDTH, LENGTH, START = 5000, 32, 20, 0
PIECE = 1024  # texts of a forward pass: 400 MB of logits
GATES = ("i", "f", "og", "c")

State = tuple[Tensor, Tensor]  # hidden and cell state, (N, WIDTH) each


class LSTM(nn.Module):
    """i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), c ← f c + i g, h ← o tanh(c), logits = h Wo + bo.

    Args:
        weights: by the names of the oracle's file; None draws them from N(0, 0.1), as Yu et al. 2017 do for both.
        seed: of that. temperature: logits are divided by it.
    """

    def __init__(self, weights: dict[str, Tensor] | None = None, seed: int = 0):
        super().__init__()
        shapes = {"embedding": (VOCABULARY, WIDTH), "Wo": (WIDTH, VOCABULARY), "bo": (VOCABULARY,)}
        for gate in GATES:
            shapes |= {f"W{gate}": (WIDTH, WIDTH), f"U{gate}": (WIDTH, WIDTH), f"b{gate}": (WIDTH,)}
        generator = torch.Generator().manual_seed(seed)
        drawn = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        given = {name: tensor.reshape(shapes[name]) for name, tensor in (weights or drawn).items()}
        self.weights = nn.ParameterDict(given)
        self.temperature = 1.0

    @classmethod
    def from_file(cls, path: Path) -> LSTM:
        """The oracle of an `.npz` file."""
        with np.load(path) as saved:
            return cls({name: torch.from_numpy(saved[name]).float() for name in saved.files}).requires_grad_(False)

    def begin(self, rows: int) -> State:
        return torch.zeros(rows, WIDTH), torch.zeros(rows, WIDTH)

    def step(self, tokens: Tensor, state: State) -> State:
        """The state after tokens (N,)."""
        w, (h, c) = self.weights, state
        x = w["embedding"][tokens]
        i, f, o, g = (x @ w[f"W{gate}"] + h @ w[f"U{gate}"] + w[f"b{gate}"] for gate in GATES)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., V) from hidden states (..., WIDTH)."""
        return (hidden @ self.weights["Wo"] + self.weights["bo"]) / self.temperature

    def states(self, tokens: Tensor) -> Iterator[State]:
        """The states before each of the texts' tokens (N, T)."""
        state = self.begin(len(tokens))
        before = torch.full_like(tokens[:, 0], START)
        for column in tokens.unbind(1):
            state = self.step(before, state)
            yield state
            before = column

    def logprobs(self, tokens: Tensor) -> Tensor:
        """(N, T), in nats."""
        hidden = torch.stack([h for h, _ in self.states(tokens)], 1)
        return self.logits(hidden).log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)

    @torch.no_grad()
    def nll(self, tokens: Tensor) -> float:
        """Mean negative log-prob of a token of texts (N, T), in nats."""
        return -float(torch.cat([self.logprobs(piece).mean(1) for piece in tokens.split(PIECE)]).mean())

    @torch.no_grad()
    def write(self, state: State, first: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """`count` more tokens (N, count), drawn after the token `first` (N,) that was read in `state`."""
        written, token = [], first
        for _ in range(count):
            state = self.step(token, state)
            token, _ = sample(self.logits(state[0]), torch.rand(len(token), generator=generator))
            written.append(token)
        return torch.stack(written, 1)

    def texts(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` whole texts (count, LENGTH)."""
        sizes = [min(PIECE, count - i) for i in range(0, count, PIECE)]
        start = [torch.full((size,), START) for size in sizes]
        return torch.cat([self.write(self.begin(len(s)), s, LENGTH, generator) for s in start])

    @torch.no_grad()
    def ends(self, tokens: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """For each t from 1 to T - 1, `count` texts with the first t tokens of each of `tokens` (N, T).

        They are (N * count, T), those of a text next to each other.
        """
        states = list(self.states(tokens))
        for t in range(1, tokens.shape[1]):
            h, c = (x.repeat_interleave(count, 0) for x in states[t - 1])
            head = tokens[:, :t].repeat_interleave(count, 0)
            yield torch.cat([head, self.write((h, c), head[:, -1], tokens.shape[1] - t, generator)], 1)
