"""TextGenVectorEnv: B token MDPs stepped as one batch on one device. Task -> mdp -> user -> reward; then autoreset."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dyngen_env import mdp
from dyngen_env.arguments import autoreset, one_of, positive, usable_device
from dyngen_env.envs.actions import read_actions, refuse
from dyngen_env.envs.conversation import Conversation
from dyngen_env.envs.endings import endings
from dyngen_env.envs.episode_source import Drawn, ExampleSource, PromptLimit
from dyngen_env.envs.infos import Ends, LazySequence
from dyngen_env.envs.observations import Observer
from dyngen_env.envs.output import make_output
from dyngen_env.envs.rendering import READING_FPS, RENDER_MODES, Renderer
from dyngen_env.envs.reward_ledger import RewardLedger
from dyngen_env.envs.row_state import Episodes, RowState, objects, written
from dyngen_env.envs.seeding import UNKNOWN, EpisodeSeeds, seeds_of_rows
from dyngen_env.envs.strict_keywords import strict_keywords
from dyngen_env.envs.token_space import TokenSpace
from dyngen_env.envs.tokenizer_choice import choose_tokenizer
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.mdp.banned import BannedWords, read_words
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.rules import token_rules
from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.rewards import Reward, RewardContext, make_reward
from dyngen_env.tasks import Task, make_task
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Example, Transition
from dyngen_env.users import User, make_user


class TextGenVectorEnv(gym.vector.VectorEnv):
    """Text generation as a batch of MDPs: the state is the tokens so far, an action is the next token.

    Observations are (B, L) int64 tokens padded with -1, actions (B,) tokens, rewards (B,) floats. At an episode's end
    the info holds `finish_reason`, `text`, `reward_terms` and, where a user answers, `dialogue`.

    Args:
        num_envs: B, how many rows.
        model: names the language model whose tokenizer and context window are used: "reviews-lm", "smollm2", a hub
            id, a folder, a `.gguf` file. No weights are loaded unless a reward or a user asks for them.
        tokenizer: a name as for `model`, "bytes", or an object (see `tokenizer.Tokenizer`). Not beside `model`.
        prompts: a list of texts, a path of a `.txt` or `.jsonl` file, or a `Task`. None: film reviews, embedded.
        reward: an expression ("sentiment + 0.1*fluency"), a `Reward`, or a function f(text) -> float.
        user: who answers the agent's turns; None is nobody.
        rating_tokens: whether the agent reads the user's rating, as a control token before their words. The tokenizer
            must have the tokens <|rating:-4|> to <|rating:+4|>, as that of reviews-lm has.
        max_new_tokens: the budget of one turn.
        max_turns: turns of the agent in an episode. Matters only if the user answers.
        max_context_tokens: L.
        context_overflow: "end" ends the episode when L is full. "drop_oldest" forgets the oldest turns, but never what
            came before the first, so that a whole turn fits; such a step's info has `segment`, the tokens (L,) before
            anything was forgotten, which end a piece of the trajectory.
        prompt_overflow: "error", or "truncate_left" for prompts that leave no room for `max_new_tokens`.
        stop: strings that end a turn when they appear in it.
        banned: words that are not legal to write, or a `.txt` file with one a line (`banned.BannedWords`).
        split: "train", "tune" or "eval" part of the prompts (`tasks.read_prompts`).
        observation: "tokens", "dict" or "text" (`observations.Observer`).
        output: "numpy", or "torch" for tensors on `device`. Those tensors are the env's own state: do not write to
            them.
        device: where the state lives and models run.
        render_mode: "ansi", "human", "rgb_array" or None.
        length_limit: "terminate" ends an episode whose budget is used up as part of the task, "truncate" as a cut.
        max_episode_steps: how many tokens of the agent an episode may have, as Gymnasium's `TimeLimit` counts and cuts:
            the episode is truncated, amid a turn if need be, which is then not paid. None or -1 is no limit.
        autoreset_mode: one of Gymnasium's three, as the enum or its name.

    Raises:
        ValueError: any argument that cannot work, at construction; the message says which, and what to do.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": READING_FPS}

    @strict_keywords
    def __init__(
        self,
        num_envs: int = 1,
        *,
        model: str | None = None,
        tokenizer: str | Tokenizer | None = None,
        prompts: str | Sequence[str] | Task | None = None,
        reward: str | Reward | Callable[..., float] = "fluency",
        user: str | User | None = None,
        rating_tokens: bool = False,
        max_new_tokens: int = 32,
        max_turns: int = 1,
        max_context_tokens: int = 128,
        context_overflow: str = "end",
        prompt_overflow: str = "error",
        stop: str | Sequence[str] = (),
        banned: str | Sequence[str] = (),
        split: str | None = None,
        observation: str = "tokens",
        output: str = "numpy",
        device: str = "cpu",
        render_mode: str | None = None,
        length_limit: str = "terminate",
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        self.device = usable_device(device)
        one_of("output", output, ("numpy", "torch"))
        one_of("context_overflow", context_overflow, ("end", "drop_oldest"))
        one_of("prompt_overflow", prompt_overflow, ("error", "truncate_left"))
        one_of("length_limit", length_limit, ("terminate", "truncate"))
        one_of("render_mode", render_mode, (None, *RENDER_MODES))
        for name, value in (
            ("num_envs", num_envs),
            ("max_new_tokens", max_new_tokens),
            ("max_turns", max_turns),
            ("max_context_tokens", max_context_tokens),
        ):
            positive(name, value)
        if max_episode_steps == -1:  # Gymnasium's word for no limit
            max_episode_steps = None
        if max_episode_steps is not None:
            positive("max_episode_steps", max_episode_steps)
        self.autoreset_mode = autoreset(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.output, self.render_mode = num_envs, output, render_mode
        self.max_turns, self.max_new_tokens = max_turns, max_new_tokens
        self.max_context_tokens, self.context_overflow = max_context_tokens, context_overflow
        self.length_limit, self.max_episode_steps = length_limit, max_episode_steps
        self._most_steps = max_episode_steps or np.iinfo(np.int64).max

        self.tokenizer, self.model = choose_tokenizer(model, tokenizer, max_context_tokens)
        self.user = make_user(user)
        reserve = max_new_tokens if context_overflow == "drop_oldest" else None
        self._conversation = Conversation(self.user, self.tokenizer, max_turns, rating_tokens, reserve)
        if rating_tokens:
            self.tokenizer.encode_reply("", 0, 0.0)  # raises if the tokenizer has no such tokens
        self.task = make_task(prompts, split)
        room = max_context_tokens - max_new_tokens
        if room < 1:
            raise ValueError(
                f"max_new_tokens={max_new_tokens} leaves no room for a prompt in max_context_tokens="
                f"{max_context_tokens}: raise max_context_tokens or lower max_new_tokens"
            )
        encode = self.tokenizer.encode_opening if self.user.answers else self.tokenizer.encode_prompt
        encode("")  # raises if the tokenizer cannot write a dialogue, or begin a text
        limit = PromptLimit(encode, room, prompt_overflow)
        self._source = ExampleSource(self.task, limit, max_context_tokens, self.device)
        self._rules, self._stop = token_rules(self.tokenizer, stop, max_new_tokens, self.device)
        words = read_words(banned)
        self.banned = BannedWords(words, self.tokenizer, self.device) if words else None

        self._ledger = RewardLedger(make_reward(reward), RewardContext(self.model, self.tokenizer, self.device))

        observer = Observer(observation, self.tokenizer, max_context_tokens, max_new_tokens)
        self.single_observation_space = observer.space
        self.single_action_space = TokenSpace(len(self.tokenizer), max_context_tokens, words)
        self._batch_spaces()
        self._output = make_output(output, observer)
        self._renderer = Renderer(self.tokenizer)

        self._begun = False  # whether there has been a reset
        empty = torch.full((num_envs, max_context_tokens), -1, device=self.device)
        self._rows = RowState.before_reset(EpisodeSeeds.fresh([None] * num_envs), empty, self._ledger.zeros(num_envs))

    def _batch_spaces(self) -> None:
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    # ---------------------------------------------------------------- what agents may ask

    @property
    def state(self) -> TokenState:
        """The batch's state. Frozen: do not write to its tensors.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._playing().tokens

    def _playing(self) -> RowState:
        if not self._begun:
            raise ResetNeeded("the env has not been reset: call reset() first")
        return self._rows

    @property
    def reward(self) -> Reward:
        """What is paid, bound to this env, the price of illegal tokens included."""
        return self._ledger.reward

    @property
    def reward_names(self) -> list[str]:
        """What the terms of the reward are called in `info["reward_terms"]`."""
        return self._ledger.names

    @property
    def examples(self) -> list[Example]:
        """What each row is playing."""
        return self._rows.examples.tolist()

    @property
    def dialogues(self) -> list[Dialogue | None]:
        """What each row's agent and user have said in the turns so far; None where nobody answers."""
        return self._rows.dialogues.tolist()

    @property
    def over(self) -> bool:
        """Whether some row has ended and awaits its reset."""
        return bool(self._rows.ended.any())

    def action_masks(self) -> np.ndarray:
        """(V,) bool: the legal tokens. Text, end of turn and end of sequence are; BOS, PAD and role tokens are not.

        With `banned` words (B, V): in each row, tokens that would complete one are not legal either.
        """
        legal = self.legal_tokens()
        if self.banned is not None:
            legal = legal & self.banned.allowed(self.banned.state(self.state.tokens, self.state.length))
        return legal.numpy(force=True).copy()

    def legal_tokens(self) -> torch.Tensor:
        """(V,) bool on the env's device: the tokens that are legal but for `banned` words."""
        return self._rules.outcome[0] != ILLEGAL

    def token_distribution(self, sampling: SamplingConfig | None = None) -> TokenDistribution:
        """The distribution of an agent that keeps to what may be written here: legal tokens, no banned words.

        Args:
            sampling: how it draws among them; None: with the model's own probabilities.
        """
        return TokenDistribution(self.legal_tokens(), self.banned, sampling or SamplingConfig())

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
        unknown = set(options) - {"prompt", "example", "reset_mask"}
        if unknown:
            raise ValueError(f"unknown reset option {unknown.pop()!r}: expected prompt, example or reset_mask")
        rows = self._rows_to_reset(options.get("reset_mask"))
        chosen = self._source.chosen(options, len(rows))
        seeds = self._rows.seeds
        if seed is not None:
            of_rows = seeds_of_rows(seed, self.num_envs)
            seeds = seeds.reseeded({row: s for row in rows.tolist() if (s := of_rows[row]) is not None})
        episodes = self._episodes(seeds, rows, chosen)
        self._rows, self._begun = replace(self._rows, seeds=seeds).reset(rows, episodes), True
        return self._output.observations(self.state), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append a token to each live row, let users answer the turns that ended, pay, and reset what is due.

        Args:
            actions: (B,) integers in [0, V).

        Raises:
            ResetNeeded: before the first reset; in DISABLED mode if a row has ended.
            ValueError: wrong dtype or shape, or a token out of range. After this and any other error, such as one
                in a reward, all rows are as they were.
        """
        old = self._playing()
        before, due = old.tokens, old.ended.nonzero()[0]
        if len(due) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(
                f'rows {due.tolist()} have ended and autoreset is off: call reset(options={{"reset_mask": ended}})'
            )
        tokens, outside = read_actions(actions, self.num_envs, len(self.tokenizer), self.device)
        if len(due):
            outside = outside & before.live  # what is said to rows that await their reset does not matter
        spoken = mdp.append(before, tokens, self._rules, all_live=not len(due))
        if self.banned is not None:
            spoken = self.banned.refuse(before, tokens, spoken)
        turn_ended = spoken.finish != before.finish
        turns = (turn_ended | outside).numpy(force=True).nonzero()[0]  # the one host read of a step
        rows = turns.tolist()
        if rows:
            refuse(actions, outside, len(self.tokenizer))

        completions = LazySequence(len(rows), lambda: completion_texts(self.tokenizer, spoken, rows, self._stop))
        after, feedback, dialogues, forgot = self._conversation.go_on(
            spoken, rows, completions, old.dialogues[turns].tolist(), old.episode_seeds[turns]
        )
        transition = Transition(
            before=before,
            actions=tokens,
            spoken=spoken,
            after=after,
            turn_ended=turn_ended,
            rows=rows,
            completions=completions,
            examples=old.examples[turns].tolist(),
            feedback=feedback,
            dialogues=dialogues,
            playing=self.examples,
            talks=self.dialogues,
        )
        rewards, paid, owed = self._ledger.pay(old.paid, old.owed, transition)
        talks = written(old.dialogues, turns, objects(dialogues)) if rows else old.dialogues
        steps = old.steps + 1
        late = (steps >= self._most_steps) & ~old.ended
        after, terminated, truncated, ended = endings(after, turns, late, self.length_limit == "truncate")
        infos: dict[str, Any] = {}
        if ended.any():
            infos = self._output.infos(self._ends(after, ended, turns, completions, talks, paid))
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                infos = self._output.final(infos, ended, after)
                due, ended = ended.nonzero()[0], np.zeros_like(ended)
        if forgot:
            infos |= self._output.segments(spoken, forgot)
        episodes = self._episodes(old.seeds, due) if len(due) else None

        new = replace(old, tokens=after, dialogues=talks, ended=ended, steps=steps, paid=paid, owed=owed)
        self._rows = new.reset(due, episodes) if episodes else new  # nothing has changed up to here
        observations = self._output.observations(self._rows.tokens)
        return observations, *self._output.numbers(rewards, terminated, truncated), infos

    # ---------------------------------------------------------------- the parts of a step

    def _ends(
        self,
        after: TokenState,
        ended: np.ndarray,
        turns: np.ndarray,
        completions: Sequence[str],
        talks: np.ndarray,
        paid: torch.Tensor,
    ) -> Ends:
        """The episodes that ended in this step: in rows whose turn ended (R,), and in others that were cut off in it.

        Args:
            completions: (R,) what was said in the turns that ended.
            talks: (B,) the dialogues, these turns included.
        """
        of_turns = ended[turns].nonzero()[0]
        amid_turn = ended.copy()
        amid_turn[turns] = False
        cut_off = amid_turn.nonzero()[0].tolist()
        unfinished = LazySequence(len(cut_off), lambda: completion_texts(self.tokenizer, after, cut_off, self._stop))
        texts = LazySequence(int(ended.sum()), lambda: [*(completions[i] for i in of_turns.tolist()), *unfinished])
        rows = np.concatenate([turns[of_turns], np.array(cut_off, dtype=turns.dtype)])
        dialogues: list[Dialogue | None] = []
        if self.user.answers:
            dialogues = [talk.said(text) for talk, text in zip(talks[cut_off], unfinished, strict=True)]
            dialogues = [*talks[turns[of_turns]], *dialogues]
        return Ends(rows, ended, after.finish, texts, dialogues, paid, self._ledger.names, self._ledger.implied)

    def _episodes(self, seeds: EpisodeSeeds, rows: np.ndarray, chosen: Drawn | None = None) -> Episodes:
        """What `rows` (R,) play next: what was chosen, or what their next seeds say."""
        of_rows = seeds.next(rows)  # used up even if something was chosen: choosing shifts no later episode
        drawn = chosen or self._source.draw(of_rows)
        return Episodes(of_rows, drawn, self._conversation.begin(drawn.examples, of_rows))

    def _rows_to_reset(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.arange(self.num_envs)
        mask = mask.numpy(force=True) if isinstance(mask, torch.Tensor) else np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"reset_mask must be bool of shape ({self.num_envs},) with at least one True, got {mask.dtype} of "
                f"shape {mask.shape} with {int(np.count_nonzero(mask))} set"
            )
        if not self._begun and not mask.all():
            raise ResetNeeded("the first reset must be of all rows")
        return np.flatnonzero(mask)

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
        twin._rows = old.take(rows)
        if reseed is not None:
            seeds = seeds_of_rows(reseed, len(rows))
            now = np.array([s % 2**64 for s in seeds if s is not None], dtype=np.uint64)
            twin._rows = replace(twin._rows, seeds=EpisodeSeeds.fresh(seeds), episode_seeds=now)
        return twin

    def reseed(self, row: int, generator: np.random.Generator) -> None:
        """Draw row `row`'s future episodes from another generator."""
        other = EpisodeSeeds.of([generator], [UNKNOWN])
        self._rows = replace(self._rows, seeds=self._rows.seeds.put([row], other))

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator. Episode seeds are taken from it in blocks (`seeding.EpisodeSeeds`)."""
        return self._rows.seeds.generators

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each row's generator was seeded with."""
        return self._rows.seeds.seeded_with

    def render(self) -> tuple[Any, ...] | None:
        """A frame for each row: text in mode "ansi", (H, W, 3) uint8 in "rgb_array"; "human" prints and gives None."""
        if self.render_mode is None or not self._begun:
            return None
        return self._renderer.frames(self.render_mode, self.state, self._rows.paid.sum(1), self.dialogues)
