"""Writes tokens in all rows of a batch without asking the host: policy, sampling and transition as one CUDA graph.

One step is what `Actor` and `mdp.append` do together, on memory of its own: the forward of each row's last token, the
distribution, a draw, its log-prob, the value, and the new state. A row whose turn has ended stays as it is, so any
number of steps may be taken before the host looks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_env import mdp
from dyngen_env.lm.engine.capture import captured, memory_pool
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.one_token import OneToken
from dyngen_env.lm.sampling import seed_tensor, uniforms
from dyngen_env.mdp.banned import BannedWords
from dyngen_env.mdp.dynamics import Rules
from dyngen_env.mdp.state import ALWAYS, STEPS, TokenState

log = logging.getLogger(__name__)

KEPT = 2  # decoders of a policy: one for training, one for evaluation


@dataclass(frozen=True, slots=True)
class Memory:
    """What B rows of L tokens hold while they are written, always at the same place: a graph knows it by address."""

    state: TokenState
    stop_before: Tensor  # (B,) int64, `stop_state` before the last token
    last: Tensor  # (B,) int64, the last token that was chosen
    logprobs: Tensor  # (B, L) float32, at the tokens that were chosen
    values: Tensor  # (B, L) float32
    chosen: Tensor  # (B, L) bool, where a token was chosen
    rows: Tensor  # (B,) int64, the rows' numbers for `uniforms`,
    steps: Tensor  # (B,) int64, how many tokens each has been given,
    seed: Tensor  # (1,) int64, and the seed

    @staticmethod
    def of(rows: int, width: int, device: torch.device) -> Memory:
        """Memory of rows of this many tokens in which nothing has been written."""
        empty = torch.full((rows, width), -1, device=device)
        zeros = torch.zeros(rows, dtype=torch.int64, device=device)
        state = TokenState(empty, zeros.clone(), zeros.clone(), empty > 0, zeros.clone(), zeros.clone())
        logprobs, values = (torch.zeros(rows, width, device=device) for _ in range(2))
        return Memory(
            state=state, stop_before=zeros.clone(), last=zeros.clone(), logprobs=logprobs, values=values,
            chosen=torch.zeros_like(empty, dtype=torch.bool), rows=zeros.clone(), steps=zeros.clone(),
            seed=seed_tensor(0, device),
        )  # fmt: skip

    def tensors(self) -> list[Tensor]:
        """Every tensor of it."""
        own = [getattr(self, field.name) for field in fields(self) if field.name != "state"]
        return [getattr(self.state, name) for name in ALWAYS] + own


class Decoder:
    """Steps of a policy in B rows of at most L tokens; `read` is its one host read.

    A graph is captured on its first use and stays valid while weights, cache and tables are the same tensors: weights
    may be trained in place. Whatever replaces one of them (another dtype or device, adapters switched on or merged,
    another distribution) makes the next run capture anew.

    Args:
        policy: what acts. Its model can be run beside a cache.
        rules: what a token does to a turn. banned: words that end an episode as illegal; None: there are none.
        rows: B. width: L.
    """

    def __init__(self, policy: CausalLMPolicy, rules: Rules, banned: BannedWords | None, rows: int, width: int):
        self.policy, self.rules, self.banned = policy, rules, banned
        self.engine = Engine(policy.lm)  # of its own: other callers ask about rows of another shape
        self.device = policy.value_head.weight.device
        self.memory = Memory.of(rows, width, self.device)
        self.graphs: dict[tuple[int, bool], Callable[[], None]] = {}  # a step, by positions attended to and greediness
        self._weights: tuple = ()  # what the graphs know by address: weights and tables,
        self._cache: tuple = ()  # keys and values
        self._one_token: OneToken | None = None
        self._pool = memory_pool(self.device)
        self.captures = 0  # since construction

    def moved(self) -> bool:
        """Whether the policy has gone to another device since."""
        return self.policy.value_head.weight.device != self.device

    @property
    def attention(self) -> str:
        """By what rows attend to their cached tokens, once something was loaded (`lm.engine.one_token`)."""
        if self._one_token is None:
            return "nothing yet"
        step = self._one_token
        return step.attention + (", fused layers" if step.fused else "") + (", compiled" if step.compiled else "")

    def begin(self, seed: int, rows: Tensor, step: int) -> None:
        """Rows (B,) draw with this seed, from this step on. Nothing has been chosen."""
        self.memory.seed.copy_(seed_tensor(seed, self.device))
        self.memory.rows.copy_(rows)
        self.memory.steps.fill_(step)

    def load(self, state: TokenState, parked: Tensor) -> bool:
        """Go on from a state of B live rows; `parked` (B,) bool are given no tokens. False: this model cannot."""
        for name in ALWAYS:
            getattr(self.memory.state, name).copy_(getattr(state, name))
        self.memory.state.finish.masked_fill_(parked, STEPS)
        self._parked = parked
        with torch.no_grad():
            weights = (self.policy.distribution, self.policy.compile_step, *_addresses(self.policy))
            if weights != self._weights:
                self._weights, self._one_token = weights, None
                self.engine.invalidate()  # it sees weights that are changed, but not all that are replaced
            forward = self.engine.fill(self.memory.state.tokens, self._held())
            if forward is None:
                return False
            if self._one_token is None or (forward, forward.slots.addresses()) != self._cache:
                self.graphs.clear()
                self._pool = memory_pool(self.device)
                held = self._held()
                wish = self.policy.compile_step
                compile = self.device.type == "cuda" if wish == "auto" else bool(wish)
                self._one_token = OneToken(forward, self.memory.state.tokens, held, compile)
                self._cache = (forward, forward.slots.addresses())  # of slots that it may just have made
        return True

    def clear(self, rows: Tensor) -> None:
        """Rows (R,) begin new episodes: what was chosen in them is forgotten."""
        for buffer in (self.memory.logprobs, self.memory.values, self.memory.chosen):
            buffer[rows] = 0

    @torch.no_grad()
    def run(self, count: int, longest: int, greedy: bool) -> None:
        """Give each live row up to `count` tokens. longest: how many tokens the longest row has now."""
        assert self._one_token is not None
        end = self._one_token.end(min(longest + count - 1, self.memory.state.tokens.shape[1]))
        if (end, greedy) not in self.graphs:
            start = time.perf_counter()
            self.graphs[end, greedy] = captured(lambda: self._step(end, greedy), self.memory.tensors(), self._pool)
            self.captures += 1
            seconds, rows = time.perf_counter() - start, len(self.memory.last)
            log.info("a step of %d rows, attention by %s, made ready in %.1f s", rows, self.attention, seconds)
        step = self.graphs[end, greedy]
        for _ in range(count):
            step()
        self.engine.filled(self.memory.state.tokens, self._held())

    def read(self) -> np.ndarray:
        """(3, B) int64, on the host: why each row stands still (0: it is live), its length, its count of steps."""
        state = self.memory.state
        return torch.stack([state.finish, state.length, self.memory.steps]).numpy(force=True)

    def spoken(self) -> tuple[TokenState, TokenState]:
        """The state before the last token of each row, and the state now. Parked rows are live and as they were."""
        now, parked = self.memory.state, self._parked
        zeros = torch.zeros_like(now.finish)
        tokens, finish = now.tokens.clone(), torch.where(parked, zeros, now.finish)
        length, stop_state = now.length.clone(), now.stop_state.clone()
        start, earlier = now.turn_start.clone(), now.earlier.clone()
        moved = ~parked
        last = (length - 1).unsqueeze(1)
        before = TokenState(
            tokens=tokens.scatter(1, last, torch.where(moved.unsqueeze(1), -1, tokens.gather(1, last))),
            length=length - moved.long(),
            turn_start=start,
            earlier=earlier,
            stop_state=torch.where(moved, self.memory.stop_before, stop_state),
            finish=zeros,
        )
        return before, TokenState(tokens, length, start, earlier, stop_state, finish)

    def _held(self) -> Tensor:
        """(B,) the rows' lengths; of parked ones 1, so that nothing is computed for them."""
        return self.memory.state.length.masked_fill(self._parked, 1)

    def _step(self, end: int, greedy: bool) -> None:
        """One token in each live row. Nothing is read on the host, and all tensors keep their shapes."""
        memory, state = self.memory, self.memory.state
        assert self._one_token is not None
        hidden = self._one_token(state.tokens, state.length, end)
        uniform = None if greedy else uniforms(memory.seed, memory.rows, memory.steps)
        action = self.policy.choose(hidden, state.tokens, state.length, uniform)
        after = mdp.append(state, action.tokens, self.rules)
        if self.banned is not None:
            after = self.banned.refuse(state, action.tokens, after)
        live = state.live
        at = state.length.clamp(max=state.tokens.shape[1] - 1).unsqueeze(1)
        for buffer, new in ((memory.logprobs, action.logprobs), (memory.values, action.values)):
            buffer.scatter_(1, at, torch.where(live.unsqueeze(1), new.unsqueeze(1), buffer.gather(1, at)))
        memory.chosen.scatter_(1, at, live.unsqueeze(1) | memory.chosen.gather(1, at))
        memory.stop_before.copy_(torch.where(live, state.stop_state, memory.stop_before))
        memory.last.copy_(torch.where(live, action.tokens, memory.last))
        memory.steps.add_(live)
        for name in ALWAYS:
            mine, new = getattr(state, name), getattr(after, name)
            if mine is not new:
                mine.copy_(new)


def decoder_for(policy: CausalLMPolicy, rules: Rules, banned: BannedWords | None, rows: int, width: int) -> Decoder:
    """A decoder of this policy; those of its last few shapes are kept, with their graphs and caches."""
    kept = policy.decoders
    key = (rows, width)
    decoder = kept.pop(key, None)
    if decoder is None or decoder.rules is not rules or decoder.banned is not banned or decoder.moved():
        decoder = Decoder(policy, rules, banned, rows, width)
    kept[key] = decoder  # the latest is the last
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return decoder


def _addresses(policy: nn.Module) -> tuple:
    """Where the weights lie, and how adapters are switched: what a captured forward does not look at again."""
    tensors = [*policy.parameters(), *policy.buffers()]
    modules: list[Any] = list(policy.modules())
    switches = [
        (bool(layer.disable_adapters), tuple(layer.merged_adapters), tuple(layer.active_adapters))
        for layer in modules
        if hasattr(layer, "merged_adapters") and hasattr(layer, "disable_adapters")  # PEFT's
    ]
    return (*((tensor.data_ptr(), tensor.dtype) for tensor in tensors), *switches)
