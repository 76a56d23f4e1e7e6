"""TextGenVectorEnv: B token MDPs stepped as one batch on one device. Task -> mdp -> user -> reward; then autoreset."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dyngen_env import mdp
from dyngen_env.envs.actions import fitted, read_actions, refuse
from dyngen_env.envs.batch_view import BatchView
from dyngen_env.envs.endings import ended_episodes, endings
from dyngen_env.envs.episode_source import Drawn
from dyngen_env.envs.infos import About
from dyngen_env.envs.keywords import documented
from dyngen_env.envs.options import VectorEnvOptions, options_from
from dyngen_env.envs.output import make_output
from dyngen_env.envs.parts import build_parts
from dyngen_env.envs.rendering import READING_FPS, RENDER_MODES, Renderer
from dyngen_env.envs.row_state import Episodes, RowState, rows_to_reset, with_dialogues
from dyngen_env.envs.seeding import UNKNOWN, EpisodeSeeds, seeds_of_rows
from dyngen_env.envs.tensor_step import TensorStep
from dyngen_env.envs.token_space import TokenSpace
from dyngen_env.envs.turns import NOTHING_SAID, answered, cut_in
from dyngen_env.mdp.state import TokenState
from dyngen_env.types import Feedback

NOBODY = np.zeros(0, dtype=np.int64)
PATIENCE = 8  # steps of a fork before its step is made ready for a GPU: many forks are stepped a few times only


@documented(VectorEnvOptions, first="num_envs")
class TextGenVectorEnv(BatchView):
    """Text generation as a batch of MDPs: the state is the tokens so far, an action is the next token.

    Observations are (B, L) int64 tokens padded with -1, actions (B,) tokens, rewards (B,) floats. At an episode's end
    the info holds `finish_reason`, `text`, `reward_terms` and, where a user answers, `dialogue`. By default the prompts
    are film reviews that come with the package, the tokenizer is that of reviews-lm, and nobody answers.

    Args:
        {keywords}

    Raises:
        ValueError: any keyword that cannot work, at construction; the message says which, and what to do.
        TypeError: an unknown keyword.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": READING_FPS}

    def __init__(self, num_envs: int = 1, **keywords: Any):
        options = options_from(VectorEnvOptions, type(self), {"num_envs": num_envs, **keywords})
        parts = build_parts(options)
        self.options, self.num_envs, self.device = options, num_envs, parts.device
        self.autoreset_mode = AutoresetMode(options.autoreset_mode)
        self.render_mode, self.output = options.render_mode, options.output
        self.tokenizer, self.model, self.banned = parts.tokenizer, parts.model, parts.banned
        self.task, self.user, self.max_turns = parts.task, parts.user, parts.max_turns
        self.max_new_tokens, self.max_context_tokens = parts.max_new_tokens, parts.max_context_tokens
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = parts.observer.space
        words, media = self.banned.words if self.banned else (), bool(parts.media.room)
        self.single_action_space = TokenSpace(len(self.tokenizer), self.max_context_tokens, words, media)
        self._batch_spaces()

        self._parts, self._ledger = parts, parts.ledger
        # Whether a token that ends no turn is paid nothing, answered by nobody, and cannot be an episode's last.
        watched = parts.ledger.reward.per_token or parts.cuts_in or options.max_episode_steps is not None
        self._quiet_amid_turns = not watched
        self._output = make_output(options.output, parts.observer)
        self._renderer = Renderer(self.tokenizer)
        self._begun = False  # whether there has been a reset
        self._tensors: TensorStep | None = None  # the step on a GPU, once there has been one
        self._suits, self._waits = TensorStep.suits(options, parts), 0
        empty = torch.full((num_envs, self.max_context_tokens), -1, device=self.device)
        self._rows = RowState.before_reset(EpisodeSeeds.fresh([None] * num_envs), empty, self._ledger.zeros(num_envs))

    def _batch_spaces(self) -> None:
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def _rows(self) -> RowState:  # type: ignore[override]
        return self._tensors.rows() if self._on_tensors and self._tensors else self._kept

    @_rows.setter
    def _rows(self, rows: RowState) -> None:
        self._kept, self._on_tensors = rows, False

    @property
    def state(self) -> TokenState:
        """The batch's state. Frozen: do not write to its tensors.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._tensors.state() if self._on_tensors and self._tensors else super().state

    @property
    def over(self) -> bool:
        """Whether some row has ended and awaits its reset."""
        return self._tensors.over if self._on_tensors and self._tensors else super().over

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator. Episode seeds are taken from it in blocks (`seeding.EpisodeSeeds`)."""
        self._rows = self._rows  # who draws from them changes what comes: the next step looks at them again
        return super().np_random

    # ---------------------------------------------------------------- reset and step

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes in all rows, or in those of `options["reset_mask"]`.

        Args:
            seed: an int s seeds row i with s + i; a list gives each row its own (None: go on).
            options: `prompt` (str, or a list with one for each row) or `example` (int or list) choose what is played;
                `reset_mask` (bool (B,)) chooses the rows; other rows come back unchanged.
        """
        options = options or {}
        rows = rows_to_reset(options, self.num_envs)
        if not self._begun and len(rows) < self.num_envs:
            raise ResetNeeded("the first reset must be of all rows")
        chosen = self._parts.source.chosen(options, len(rows))
        old = self._rows
        if seed is not None:
            of_rows = seeds_of_rows(seed, self.num_envs)
            new = {row: s for row in rows.tolist() if (s := of_rows[row]) is not None}
            given = list(new.values())
            old = old.reseeded(list(new), EpisodeSeeds.fresh(given), given) if new else old
        episodes = self._episodes(old, rows, old.dialogues, chosen)
        self._rows, self._begun = old.reset(rows, episodes), True
        infos = self._output.about(self.state, dict(zip(rows.tolist(), episodes.about(), strict=True)))
        return self._output.observations(self.state), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append a token to each live row, let users answer the turns that ended, pay, and reset what is due.

        Args:
            actions: (B,) integers in [0, V).

        Raises:
            ResetNeeded: before the first reset; in DISABLED mode if a row has ended.
            ValueError: wrong dtype or shape, or a token out of range. After this and any other error, such as one
                in a reward, all rows are as they were.
        """
        if self._on_tensors or (self._suits and self._begun and self._waits <= 0):
            if self._on_tensors or TensorStep.follows(self._kept.seeds):
                return self._step_on_tensors(actions)
            self._waits = PATIENCE
        self._waits -= 1
        old = self._playing()
        before, due = old.state, old.ended.nonzero()[0]
        self._refuse_ended(due)
        tokens, spoken, turns = self._append(before, actions, all_live=not len(due))
        if self._quiet_amid_turns and not len(turns) and not len(due):  # as in most steps
            self._rows = old.wrote(spoken)
            return self._output.observations(spoken), *self._output.nothing(spoken), {}
        said = NOTHING_SAID
        if self._parts.cuts_in:
            spoken, turns, said = cut_in(self._parts, old, spoken, turns)
        return self._conclude(before, tokens, spoken, turns, ~old.ended, said)

    def _refuse_ended(self, due: np.ndarray) -> None:
        if len(due) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(
                f'rows {due.tolist()} have ended and autoreset is off: call reset(options={{"reset_mask": ended}})'
            )

    def _step_on_tensors(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        if self._tensors is None:
            self._tensors = TensorStep(self.options, self._parts, self._ledger, self._kept)
        elif not self._on_tensors:
            self._tensors.load(self._kept)
        self._on_tensors = True
        if self._tensors.over and self.autoreset_mode == AutoresetMode.DISABLED:
            self._refuse_ended(self._rows.ended.nonzero()[0])
        return self._tensors.step(actions, read_actions(actions, self.num_envs, self.device))

    def advance(
        self, before: TokenState, tokens: torch.Tensor, spoken: TokenState, turns: np.ndarray, taken: np.ndarray
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """What `step` returns, after an agent has by itself appended several tokens to rows by `rules`.

        A row whose turn has ended takes no more of them. No reward may pay by token (`reward.per_token`), as it would
        not see each, no user may cut in, and no row may go beyond `max_episode_steps`.

        Args:
            before: the state before the last token of each row. tokens: (B,) int64, these tokens.
            spoken: the state after them.
            turns: (R,) rows whose turn they have ended.
            taken: (B,) int64, how many tokens each row has been given.
        """
        self._waits = PATIENCE
        return self._conclude(before, tokens, spoken, turns, taken)

    def _conclude(
        self,
        before: TokenState,
        tokens: torch.Tensor,
        spoken: TokenState,
        turns: np.ndarray,
        taken: np.ndarray,
        said: dict[int, Feedback] = NOTHING_SAID,
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Users answer the `turns` that ended, rewards are paid, episodes end, rows that are due begin new ones."""
        old = self._rows
        due = old.ended.nonzero()[0]
        transition, answers, texts = answered(self._parts, old, before, tokens, spoken, turns, said)
        rewards, paid, owed = self._ledger.pay(old.paid, old.owed, transition, all_live=not len(due))
        talks = with_dialogues(old.dialogues, turns, answers.dialogues)
        steps, most = old.steps + taken, self.options.max_episode_steps
        late = NOBODY if most is None else ((steps >= most) & ~old.ended).nonzero()[0]
        budget_cuts = self.options.length_limit == "truncate"
        after, terminated, truncated, ended = endings(answers.state, turns, late, budget_cuts)
        infos, told = dict[str, Any](), dict[int, About]()  # told: of episodes that end or begin, by row
        if (len(turns) or len(late)) and ended.any():
            over = ended_episodes(self._parts, after, ended, turns, texts, old.examples, talks, paid)
            infos, told = self._output.infos(over), {row: (old.examples[row], talks[row]) for row in over.rows.tolist()}
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                infos = self._output.final(infos | self._output.about(after, told), ended, after)
                due, ended, told = ended.nonzero()[0], np.zeros_like(ended), {}
        if answers.cut:
            infos |= self._output.segments(spoken, answers.cut)
        episodes = self._episodes(old, due, talks) if len(due) else None
        if episodes:
            told |= dict(zip(due.tolist(), episodes.about(), strict=True))
        if told:
            infos |= self._output.about(after, told)

        new = replace(old, state=after, dialogues=talks, ended=ended, steps=steps, paid=paid, owed=owed)
        self._rows = new.reset(due, episodes) if episodes else new  # nothing has changed up to here
        observations = self._output.observations(self._rows.state)
        return observations, *self._output.numbers(rewards, terminated, truncated), infos

    # ---------------------------------------------------------------- the parts of a step

    def _append(self, before: TokenState, actions: Any, all_live: bool) -> tuple[torch.Tensor, TokenState, np.ndarray]:
        """The actions as tokens (B,), the state after them, and the rows (R,) whose turn they ended."""
        tokens, outside = fitted(read_actions(actions, self.num_envs, self.device), len(self.tokenizer))
        if not all_live:
            outside = outside & before.live  # what is said to rows that await their reset does not matter
        spoken = mdp.append(before, tokens, self._parts.rules, all_live)
        if self.banned is not None:
            spoken = self.banned.refuse(before, tokens, spoken)
        read = (spoken.finish != before.finish) | outside
        turns = read.numpy(force=True).nonzero()[0]  # the one host read of a step
        if len(turns):
            refuse(actions, outside, len(self.tokenizer))
        return tokens, spoken, turns

    def _episodes(self, old: RowState, rows: np.ndarray, talks: np.ndarray, chosen: Drawn | None = None) -> Episodes:
        """What `rows` (R,) play next, after talks (B,): what was chosen, or what their next seeds say."""
        of_rows = old.seeds.next(rows)  # used up even if something was chosen: choosing shifts no later episode
        drawn = chosen or self._parts.source.draw(of_rows, old.numbers[rows])
        return Episodes(of_rows, drawn, self._parts.conversation.begin(drawn.examples, of_rows, talks[rows].tolist()))

    # ---------------------------------------------------------------- copies, streams, pictures

    def fork(self, rows: Sequence[int], reseed: int | None = None) -> TextGenVectorEnv:
        """A new env whose rows are copies of `rows` (any number, repeats allowed): states, personas, random streams.

        Given equal actions the copies do what the originals do. With `reseed=s`, row i's future episodes and its
        user go on from seed s + i instead, so branches differ.
        """
        old, rows = self._playing(), list(rows)
        out = [row for row in rows if not 0 <= row < self.num_envs]
        if out or not rows:
            raise ValueError(f"cannot fork rows {rows}: expected at least one of 0 to {self.num_envs - 1}")
        twin = copy.copy(self)
        twin.num_envs = len(rows)
        twin.metadata = dict(self.metadata)
        twin._batch_spaces()
        twin._ledger = self._ledger.rebound()
        twin._tensors, twin._waits = None, PATIENCE
        twin._rows = old.take(rows)
        if reseed is not None:
            twin._rows = twin._rows.branched(seeds_of_rows(reseed, len(rows)))
        return twin

    def reseed(self, row: int, generator: np.random.Generator, seed: int | None = None) -> None:
        """Draw row `row`'s future episodes from another generator, seeded with `seed` if that is known. The next user
        is somebody new."""
        self._rows = self._rows.reseeded([row], EpisodeSeeds.of([generator], [UNKNOWN]), [seed])

    def render(self) -> tuple[Any, ...] | None:
        """A frame for each row: text in mode "ansi", (H, W, 3) uint8 in "rgb_array"; "human" prints and gives None."""
        if self.render_mode is None or not self._begun:
            return None
        return self._renderer.frames(self.render_mode, self.state, self._rows.paid.sum(1), self.dialogues)
