"""The step of an env on a GPU as functions of tensors that stay where they are, so that CUDA graphs can hold them.

`_propose` computes what a step would do, and writes nothing; the host reads three numbers, whether an action was out of
range, an episode ended, a reward cannot be paid; then `_keep` or, where rows begin new episodes, `_renew` writes it.
Which prompt a row plays next lies on the device in advance, drawn there from the row's own seeds (`prompt_queue`).
Shapes: B rows, L tokens of context, K terms of the reward, E examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from dyngen_env import mdp
from dyngen_env.envs.actions import fitted, refuse
from dyngen_env.envs.conversation import QUIET
from dyngen_env.envs.infos import Ends, LazySequence, lazy_infos
from dyngen_env.envs.options import EnvOptions
from dyngen_env.envs.output import TensorOutput
from dyngen_env.envs.parts import EnvParts
from dyngen_env.envs.prompt_queue import AHEAD, PromptQueue
from dyngen_env.envs.proposal import Proposal, tensors_alone
from dyngen_env.envs.reward_ledger import Entry, RewardLedger
from dyngen_env.envs.row_state import RowState
from dyngen_env.envs.seeding import EpisodeSeeds
from dyngen_env.lm.engine.capture import captured, memory_pool
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.state import CONTEXT, ILLEGAL, LENGTH, LIVE, TokenState
from dyngen_env.tasks import Prompts
from dyngen_env.types import Transition


class TensorStep:
    """The rows of an env whose users are silent and whose prompts are a list, on a GPU.

    Terms of the reward that read text are paid after the host has seen that something ended, for all rows that did at
    once; all others are part of `_propose`.

    Args:
        rows: what the rows remember. They go on from there; `rows()` gives what they remember later.
    """

    @staticmethod
    def suits(options: EnvOptions, parts: EnvParts) -> bool:
        """Whether the step of an env can be made this way."""
        task = parts.task
        generated = type(task).pick is Prompts.pick if isinstance(task, Prompts) else False
        return (
            parts.device.type == "cuda"
            and getattr(options, "output", "numpy") == "torch"
            and options.observation != "text"
            and options.max_episode_steps is None
            and not parts.user.answers
            and generated
        )

    def __init__(self, options: EnvOptions, parts: EnvParts, ledger: RewardLedger, rows: RowState):
        self._parts, self._ledger, self._output = parts, ledger, TensorOutput(parts.observer)
        self._mode = AutoresetMode(options.autoreset_mode)  # type: ignore[attr-defined]
        self._budget_cuts = options.length_limit == "truncate"
        self._always_live = self._mode == AutoresetMode.SAME_STEP
        device = self._device = parts.device
        assert parts.source.table is not None
        self._prompts, lengths = parts.source.table
        zeros = torch.zeros_like(lengths)
        self._starts = torch.stack([lengths, lengths, zeros, zeros])  # (4, E), a row of `book` for each example
        self._zero = torch.zeros((), dtype=torch.float64, device=device)

        count, state = len(rows.ended), rows.state
        self._tokens, self._earlier = torch.empty_like(state.tokens), torch.zeros_like(state.earlier)
        self._book = torch.zeros(4, count, dtype=torch.int64, device=device)
        self._paid, self._owed = torch.zeros_like(rows.paid), torch.zeros_like(rows.owed)
        self._actions = torch.zeros_like(state.length)
        assert isinstance(parts.task, Prompts)
        self._queue = PromptQueue(parts.task, count, device)
        self._made: Proposal | None = None
        self.load(rows)
        memory = [self._tokens, self._book, self._paid, self._owed, *self._queue.memory]
        pool = memory_pool(device)
        self._propose = captured(self._proposing, memory, pool)
        rest: list[Callable[[], None]] = [self._keeping, self._renewing, self._queue.refill]
        if (
            self._propose != self._proposing
        ):  # else what it makes lies somewhere else at each step: no graph can read it
            rest = [captured(function, memory, pool) for function in rest]
        self._keep, self._renew, self._refill = rest

    # ---------------------------------------------------------------- from and to what rows remember

    @staticmethod
    def follows(seeds: EpisodeSeeds) -> bool:
        """Whether what the rows' generators draw can be computed here: they are of the kind that every env makes."""
        return all(type(generator.bit_generator) is np.random.PCG64 for generator in seeds.generators)

    def load(self, rows: RowState) -> None:
        """Go on from what these rows remember."""
        self._known = rows
        state, seeds = rows.state, rows.seeds
        self._tokens.copy_(state.tokens)
        self._book.copy_(torch.stack([state.length, state.turn_start, state.stop_state, state.finish]))
        self._paid.copy_(rows.paid)
        self._owed.copy_(rows.owed)
        self._queue.load(seeds)
        self._left = AHEAD  # in how many steps rows can begin new episodes before `_refill`
        self._over = bool(rows.ended.any())
        self._seen: TokenState | None = None

    def state(self) -> TokenState:
        """The batch's state as it is now: later steps do not change it."""
        if self._seen is None:
            length, turn_start, stop_state, finish = self._book.clone()
            self._seen = TokenState(self._tokens.clone(), length, turn_start, self._earlier, stop_state, finish)
        return self._seen

    def rows(self) -> RowState:
        """What the rows remember now. Reads on the host."""
        state, old = self.state(), self._known
        length, start, finish, counts = torch.stack(
            [state.length, state.turn_start, state.finish, self._queue.counts()]
        ).numpy(force=True)
        seeds, last = old.seeds.skipped(counts)
        begun = np.flatnonzero(counts)
        examples, episode_seeds = old.examples, old.episode_seeds
        if len(begun):
            examples, episode_seeds = examples.copy(), episode_seeds.copy()
            episode_seeds[begun] = last[begun]
            examples[begun] = self._parts.source.draw(last[begun]).examples
        self._known = replace(
            old,
            state=state,
            seeds=seeds,
            episode_seeds=episode_seeds,
            examples=examples,
            ended=finish != LIVE,
            steps=length - start,
            paid=self._paid.clone(),
            owed=self._owed.clone(),
        )
        self._queue.recount()
        return self._known

    # ---------------------------------------------------------------- what graphs hold

    def _now(self) -> TokenState:
        length, turn_start, stop_state, finish = self._book
        return TokenState(self._tokens, length, turn_start, self._earlier, stop_state, finish)

    def _proposing(self) -> None:
        state, live = self._now(), self._always_live
        tokens, outside = fitted(self._actions, len(self._parts.tokenizer))
        spoken = mdp.append(state, tokens, self._parts.rules, live)
        if self._parts.banned is not None:
            spoken = self._parts.banned.refuse(state, tokens, spoken)
        ended = spoken.finish != (LIVE if live else state.finish)
        cut = spoken.finish == CONTEXT
        if self._budget_cuts:
            cut = cut | (spoken.finish == LENGTH)
        begin = ended
        if not live:
            outside, cut, begin = outside & state.live, cut & ended, state.finish != LIVE
        if self._ledger.on_tokens:
            step = Transition(before=state, actions=tokens, spoken=spoken, after=spoken, turn_ended=ended)
            step = tensors_alone(step)
            entry, earned, payable = self._ledger.pay_on_tokens(self._paid, self._owed, step, live)
        else:
            nothing = torch.zeros_like(self._paid[:, 0])
            entry, earned, payable = Entry(nothing, self._paid.clone(), self._owed.clone()), self._paid, nothing == 0
        book = torch.stack([spoken.length, spoken.turn_start, spoken.stop_state, spoken.finish])
        marks = torch.stack([ended, cut, outside, payable])
        self._made = Proposal(tokens, spoken, book, marks, begin, entry, earned, entry.rewards.float(), marks.sum(1))

    def _keeping(self) -> None:
        made = self._proposal()
        self._tokens.copy_(made.spoken.tokens)
        self._book.copy_(made.book)
        self._paid.copy_(made.entry.paid)
        if self._ledger.holds:
            self._owed.copy_(made.entry.owed)

    def _renewing(self) -> None:
        made = self._proposal()
        begin = made.begin.unsqueeze(1)
        example = self._queue.next()
        torch.where(begin, self._prompts.index_select(0, example), made.spoken.tokens, out=self._tokens)
        torch.where(made.begin, self._starts.index_select(1, example), made.book, out=self._book)
        torch.where(begin, self._zero, made.entry.paid, out=self._paid)
        if self._ledger.holds:
            torch.where(begin, self._zero, made.entry.owed, out=self._owed)
        self._queue.use(made.begin)

    def _proposal(self) -> Proposal:
        assert self._made is not None
        return self._made

    # ---------------------------------------------------------------- the step

    @property
    def over(self) -> bool:
        """Whether some row has ended and awaits its reset."""
        return self._over

    def step(self, actions: Any, tokens: Tensor) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """What `TextGenVectorEnv.step` returns.

        Args:
            actions: as they were given, for errors. tokens: (B,) the same on the device.
        """
        self._actions.copy_(tokens)
        self._propose()
        made = self._proposal()
        ended, _, outside, payable = made.counts.tolist()  # the one host read
        if outside:
            refuse(actions, made.marks[2], len(self._parts.tokenizer))
        if payable < len(tokens):
            self._ledger.check(made.entry, made.earned)
        spoken, rewards = made.spoken, self._lasting(made.rewards)
        ends, truncated, *_ = self._lasting(made.marks)  # as nobody answers, a turn's end is the episode's
        if ended or not self._ledger.on_tokens:
            length, turn_start, stop_state, finish = self._lasting(made.book)
            spoken = TokenState(self._lasting(spoken.tokens), length, turn_start, self._earlier, stop_state, finish)
        if not self._ledger.on_tokens:
            rewards = self._pay_texts(made, spoken, ends, ended)
        paid = self._lasting(made.entry.paid) if ended else made.entry.paid
        if self._over if self._mode == AutoresetMode.NEXT_STEP else ended and self._always_live:
            if not self._left:
                self._refill()
                self._left = AHEAD
            self._renew()
            self._left -= 1
        else:
            self._keep()
        self._over, self._seen = bool(ended) and not self._always_live, None
        infos = self._infos(spoken, ends, paid) if ended else {}
        return self._observations(), rewards, ends, truncated, infos

    def _lasting(self, made: Tensor) -> Tensor:
        """What the next replay of a graph does not overwrite."""
        return made if self._propose == self._proposing else made.clone()

    def _observations(self) -> Any:
        state = self._now()
        seen = self._output.observations(state)
        return seen.clone() if seen is state.tokens else seen

    def _pay_texts(self, made: Proposal, spoken: TokenState, ended: Tensor, count: int) -> Tensor:
        """(B,) float32: what is paid if a term needs the host. The proposal's entry becomes what it will be."""
        rows = np.flatnonzero(ended.numpy(force=True)).tolist() if count else []
        parts, batch = self._parts, len(ended)
        step = Transition(
            before=self._now(),
            actions=made.tokens,
            spoken=spoken,
            after=spoken,
            turn_ended=ended,
            rows=rows,
            completions=LazySequence(len(rows), lambda: completion_texts(parts.tokenizer, spoken, rows, parts.stop)),
            examples=LazySequence(len(rows), lambda: self.rows().examples[rows].tolist()),
            feedback=[QUIET] * len(rows),
            dialogues=[None] * len(rows),
            playing=LazySequence(batch, lambda: self.rows().examples.tolist()),
            talks=LazySequence(batch, lambda: [None] * batch),
        )
        entry = self._ledger.pay(self._paid, self._owed, step, self._always_live)
        made.entry.paid.copy_(entry.paid)
        made.entry.owed.copy_(entry.owed)
        return entry.rewards.float()

    def _infos(self, final: TokenState, ended: Tensor, paid: Tensor) -> dict[str, Any]:
        parts, ledger = self._parts, self._ledger

        def ends() -> Ends:
            where = ended.numpy(force=True)
            rows = np.flatnonzero(where)
            texts = LazySequence(len(rows), lambda: completion_texts(parts.tokenizer, final, rows.tolist(), parts.stop))
            return Ends(
                rows=rows, ended=where, finish=final.finish, texts=texts, dialogues=[], paid=paid,
                names=ledger.names, implied=ledger.implied,
            )  # fmt: skip

        illegal = final.finish == ILLEGAL
        if not self._always_live:
            illegal = illegal & ended
        infos = lazy_infos(
            ended, torch.where(ended.unsqueeze(1), paid, self._zero), illegal, ledger.names, ledger.implied, ends
        )
        if not self._always_live:
            return infos
        return {
            "final_obs": self._output.observations(final),
            "_final_obs": ended,
            "final_info": infos,
            "_final_info": ended,
        }
