"""TextGenVectorEnv: B token MDPs stepped as one batch on one device. Task -> mdp -> user -> reward; then autoreset."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dyngen_env import mdp
from dyngen_env.arguments import autoreset, one_of, positive, usable_device
from dyngen_env.envs.conversation import Conversation
from dyngen_env.envs.episode_source import Drawn, ExampleSource, PromptLimit
from dyngen_env.envs.infos import Ends, LazySequence, array_infos, tensor_infos
from dyngen_env.envs.observations import Observer, row_of
from dyngen_env.envs.rendering import RENDER_MODES, Renderer
from dyngen_env.envs.seeding import EpisodeSeeds
from dyngen_env.envs.strict_keywords import strict_keywords
from dyngen_env.envs.token_space import TokenSpace
from dyngen_env.envs.tokenizer_choice import choose_tokenizer
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.mdp.banned import BannedWords, read_words
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.rules import token_rules
from dyngen_env.mdp.state import CONTEXT, ILLEGAL, LENGTH, LIVE, TokenState
from dyngen_env.rewards import Reward, RewardContext, make_reward
from dyngen_env.rewards.base import payment, term_names, with_price_of_illegal
from dyngen_env.rewards.transforms.delay import is_due
from dyngen_env.tasks import Task, make_task
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.types import Dialogue, Example, Transition
from dyngen_env.users import User, make_user

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


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
        autoreset_mode: one of Gymnasium's three, as the enum or its name.

    Raises:
        ValueError: any argument that cannot work, at construction; the message says which, and what to do.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 30}

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
        self.autoreset_mode = autoreset(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.output, self.render_mode = num_envs, output, render_mode
        self.max_turns, self.max_new_tokens = max_turns, max_new_tokens
        self.max_context_tokens, self.context_overflow = max_context_tokens, context_overflow
        self.length_limit = length_limit

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

        self._reward_context = RewardContext(self.model, self.tokenizer, self.device)
        bound = make_reward(reward).bind(self._reward_context)
        self.reward, self._implied_name = with_price_of_illegal(bound)
        self._terms = self.reward.terms()
        self.reward_names = term_names(self._terms)

        self._observer = Observer(observation, self.tokenizer, max_context_tokens, max_new_tokens)
        self.single_observation_space = self._observer.space
        self.single_action_space = TokenSpace(len(self.tokenizer), max_context_tokens, words)
        self._batch_spaces()
        self._renderer = Renderer(self.tokenizer)

        self._state: TokenState | None = None
        generators, self._row_seeds = zip(*(seeding.np_random() for _ in range(num_envs)), strict=True)
        self._seeds = EpisodeSeeds(generators)
        self._episode_seeds = np.zeros(num_envs, dtype=np.uint64)
        self._examples = _objects([Example("")] * num_envs)
        self._dialogues = _objects([None] * num_envs)  # Dialogue | None
        self._ended = np.zeros(num_envs, dtype=bool)  # rows that await a reset; replaced, never written to
        self._paid = torch.zeros(num_envs, len(self._terms), dtype=torch.float64, device=self.device)  # this episode
        self._owed = self._paid  # earned in this episode, and withheld by `delayed`

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
        if self._state is None:
            raise ResetNeeded("the env has not been reset: call reset() first")
        return self._state

    @property
    def examples(self) -> list[Example]:
        """What each row is playing."""
        return self._examples.tolist()

    @property
    def dialogues(self) -> list[Dialogue | None]:
        """What each row's agent and user have said in the turns so far; None where nobody answers."""
        return list(self._dialogues)

    @property
    def over(self) -> bool:
        """Whether some row has ended and awaits its reset."""
        return bool(self._ended.any())

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
            sampling: how boldly it draws among them; None: as the model says.
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
        self._seed_rows(rows, seed)
        ended = self._ended.copy()
        ended[rows] = False
        self._state = self._begin(self._state, rows, self._episodes(rows, chosen))
        self._ended = ended
        return self._output(self._state), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append a token to each live row, let users answer the turns that ended, pay, and reset what is due.

        Args:
            actions: (B,) integers in [0, V).

        Raises:
            ResetNeeded: before the first reset; in DISABLED mode if a row has ended.
            ValueError: wrong dtype or shape, or a token out of range. After this and any other error, such as one
                in a reward, all rows are as they were.
        """
        before = self.state
        due = self._ended.nonzero()[0]
        if len(due) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(
                f'rows {due.tolist()} have ended and autoreset is off: call reset(options={{"reset_mask": ended}})'
            )
        tokens, outside = self._tokens(actions)
        if len(due):
            outside = outside & before.live  # what is said to rows that await their reset does not matter
        spoken = mdp.append(before, tokens, self._rules, all_live=not len(due))
        if self.banned is not None:
            spoken = self.banned.refuse(before, tokens, spoken)
        turn_ended = spoken.finish != before.finish
        turns = (turn_ended | outside).numpy(force=True).nonzero()[0]  # the one host read of a step
        rows = turns.tolist()
        if rows:
            self._refuse(actions, outside)

        completions = LazySequence(len(rows), lambda: completion_texts(self.tokenizer, spoken, rows, self._stop))
        after, feedback, dialogues, forgot = self._conversation.go_on(
            spoken, rows, completions, self._dialogues[turns].tolist(), self._episode_seeds[turns]
        )
        examples = self._examples[turns].tolist()
        transition = Transition(
            before, tokens, spoken, after, turn_ended, rows, completions, examples, feedback, dialogues,
            playing=self.examples, talks=self.dialogues,
        )  # fmt: skip
        rewards, paid, owed = self._pay(transition)
        terminated, truncated, ended = self._ends(after, turns)
        infos: dict[str, Any] = {}
        if rows and ended.any():
            infos = self._infos(after, ended, turns, completions, dialogues, paid)
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                infos = self._final(infos, ended, after)
                due, ended = ended.nonzero()[0], np.zeros_like(ended)
        if forgot:
            infos |= self._segments(spoken, forgot)
        episodes = self._episodes(due) if len(due) else None

        self._ended, self._paid, self._owed = ended, paid, owed  # nothing has changed up to here
        self._dialogues[turns] = _objects(dialogues)
        self._state = self._begin(after, due, episodes) if episodes else after
        observations = self._output(self._state)
        if self.output == "torch":
            return observations, rewards.float(), terminated, truncated, infos
        # Made in this step and kept by nobody: unlike the state they need not be copied.
        return observations, *(made.numpy(force=True) for made in (rewards, terminated, truncated)), infos

    # ---------------------------------------------------------------- the parts of a step

    def _tokens(self, actions: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions (B,) on the device, made valid; and (B,) bool, where they were not."""
        if isinstance(actions, torch.Tensor):
            integers = actions.dtype in INTEGERS
        else:
            actions = np.asarray(actions)
            integers = actions.dtype.kind in "iu"
        if not integers:
            raise ValueError(f"actions have dtype {actions.dtype}: expected integers, a token a row")
        if tuple(actions.shape) != (self.num_envs,):
            raise ValueError(f"actions have shape {tuple(actions.shape)}: expected ({self.num_envs},), a token a row")
        tokens = torch.from_numpy(actions.astype(np.int64)) if isinstance(actions, np.ndarray) else actions
        tokens = tokens.to(self.device, torch.int64)
        valid = tokens.clamp(0, len(self.tokenizer) - 1)
        return valid, valid != tokens

    def _refuse(self, actions: Any, outside: torch.Tensor) -> None:
        rows = outside.nonzero().flatten().tolist()
        if rows:
            raise ValueError(
                f"action {int(actions[rows[0]])} of row {rows[0]} is out of range: "
                f"expected 0 <= token < {len(self.tokenizer)}"
            )

    def _pay(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B,) float64 rewards, zero on rows that were not live; (B, K), each term's sum over the episode; and (B, K),
        what it has earned and is to be paid later."""
        due = [k for k, (_, part) in enumerate(self._terms) if transition.rows or part.per_token]
        if not due:
            return torch.zeros(self.num_envs, dtype=torch.float64, device=self.device), self._paid, self._owed
        amounts = torch.zeros_like(self._paid)
        for k in due:
            scale, part = self._terms[k]
            amounts[:, k] = scale * payment(part, transition)
        amounts = torch.where(transition.live.unsqueeze(1), amounts, 0.0)
        owed = self._owed
        if any(part.held_until for _, part in self._terms):
            earned, due_now = owed + amounts, is_due([part for _, part in self._terms], transition)
            amounts, owed = torch.where(due_now, earned, 0.0), torch.where(due_now, 0.0, earned)
        return amounts.sum(1), self._paid + amounts, owed

    def _ends(self, after: TokenState, turns: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """terminated and truncated (B,) bool of this step, and which rows ended, on the host; turns ended in (R,)."""
        never = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        if not len(turns):
            return never, never.clone(), np.zeros(self.num_envs, dtype=bool)
        where = torch.from_numpy(turns).to(self.device)
        finish = after.finish[where]
        cut = finish == CONTEXT
        if self.length_limit == "truncate":
            cut = cut | (finish == LENGTH)
        over = finish != LIVE
        terminated, truncated = never.index_copy(0, where, over & ~cut), never.index_copy(0, where, over & cut)
        return terminated, truncated, (terminated | truncated).numpy(force=True)

    def _infos(
        self,
        after: TokenState,
        ended: np.ndarray,
        turns: np.ndarray,
        completions: Sequence[str],
        dialogues: Sequence[Dialogue | None],
        paid: torch.Tensor,
    ) -> dict[str, Any]:
        """Infos of the episodes that ended in this step; `turns` (R,) are the rows whose turn ended."""
        which = ended[turns].nonzero()[0]  # (E,) of the R
        texts = LazySequence(len(which), lambda: [completions[i] for i in which.tolist()])
        talks = _objects(dialogues)[which].tolist() if self.user.answers else []
        ends = Ends(turns[which], ended, after.finish, texts, talks, paid, self.reward_names, self._implied_name)
        return tensor_infos(ends) if self.output == "torch" else array_infos(ends)

    def _segments(self, spoken: TokenState, forgot: list[int]) -> dict[str, Any]:
        """The tokens (B, L) of rows that have forgotten some, as they were; -1 elsewhere."""
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[forgot] = True
        segments = {"segment": torch.where(mask.unsqueeze(1), spoken.tokens, -1), "_segment": mask}
        return segments if self.output == "torch" else {k: v.numpy(force=True) for k, v in segments.items()}

    def _final(self, infos: dict[str, Any], ended: np.ndarray, after: TokenState) -> dict[str, Any]:
        """What SAME_STEP reports of episodes whose rows are reset in this very step."""
        if self.output == "torch":
            mask = torch.from_numpy(ended).to(self.device)
            final = self._observer.tensors(after)
            return {"final_obs": final, "_final_obs": mask, "final_info": infos, "_final_info": mask.clone()}
        observations = self._observer.arrays(after)
        array = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended).tolist():
            array[row] = row_of(observations, row)
        return {"final_obs": array, "_final_obs": ended, "final_info": infos, "_final_info": ended.copy()}

    def _episodes(self, rows: np.ndarray, chosen: Drawn | None = None) -> _Episodes:
        """What the next episodes of `rows` (R,) play: what was chosen, or what their seeds say."""
        seeds = self._seeds.next(rows)  # drawn even if unused, so that choosing an example shifts no later episode
        drawn = chosen or self._source.draw(seeds)
        return _Episodes(seeds, drawn, self._conversation.begin(drawn.examples, seeds))

    def _begin(self, state: TokenState | None, rows: np.ndarray, episodes: _Episodes) -> TokenState:
        """The state in which `rows` (R,) begin these episodes."""
        self._episode_seeds[rows] = episodes.seeds
        self._examples[rows], self._dialogues[rows] = episodes.drawn.examples, _objects(episodes.dialogues)
        where = torch.from_numpy(rows).to(self.device)
        self._paid, self._owed = self._paid.index_fill(0, where, 0.0), self._owed.index_fill(0, where, 0.0)
        if state is None or len(rows) == self.num_envs:
            return mdp.initial(episodes.drawn.tokens, episodes.drawn.lengths)
        return mdp.restart(state, where, episodes.drawn.tokens, episodes.drawn.lengths)

    def _rows_to_reset(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.arange(self.num_envs)
        mask = mask.numpy(force=True) if isinstance(mask, torch.Tensor) else np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"reset_mask must be bool of shape ({self.num_envs},) with at least one True, got {mask.dtype} of "
                f"shape {mask.shape} with {int(np.count_nonzero(mask))} set"
            )
        if self._state is None and not mask.all():
            raise ResetNeeded("the first reset must be of all rows")
        return np.flatnonzero(mask)

    def _seed_rows(self, rows: np.ndarray, seed: int | Sequence[int | None] | None) -> None:
        """Seed those of `rows` (R,) that are to be seeded: with s + i, or with the i-th of a list."""
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            seed = range(int(seed), int(seed) + self.num_envs)
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} rows: give one int, or one seed a row")
        fresh = {row: seeding.np_random(int(seed[row])) for row in rows.tolist() if seed[row] is not None}  # type: ignore[arg-type]
        for row, (generator, _) in fresh.items():
            self._seeds.reseed(row, generator)
        self._row_seeds = tuple(fresh[row][1] if row in fresh else known for row, known in enumerate(self._row_seeds))

    def _output(self, state: TokenState) -> Any:
        return self._observer.tensors(state) if self.output == "torch" else self._observer.arrays(state)

    # ---------------------------------------------------------------- copies, streams, pictures

    def fork(self, rows: Sequence[int], reseed: int | None = None) -> TextGenVectorEnv:
        """A new env whose rows are copies of `rows` (any number, repeats allowed): states, personas, random streams.

        Given equal actions the copies do what the originals do. With `reseed=s`, row i's future episodes and its
        user go on from seed s + i instead, so branches differ.
        """
        state, rows = self.state, list(rows)
        out = [row for row in rows if not 0 <= row < self.num_envs]
        if out or not rows:
            raise ValueError(f"cannot fork rows {rows}: expected at least one of 0 to {self.num_envs - 1}")
        twin = copy.copy(self)
        twin.num_envs = len(rows)
        twin.metadata = dict(self.metadata)
        twin._batch_spaces()
        twin._state = mdp.fork(state, torch.as_tensor(rows, device=self.device))
        twin._seeds = self._seeds.fork(rows)
        twin._examples = self._examples[rows]
        twin._dialogues = _objects([copy.deepcopy(talk) for talk in self._dialogues[rows]])
        twin._episode_seeds = self._episode_seeds[rows].copy()
        twin._row_seeds = tuple(self._row_seeds[row] for row in rows)
        twin._ended = self._ended[rows].copy()
        twin._paid, twin._owed = self._paid[rows].clone(), self._owed[rows].clone()
        twin.reward = self.reward.bind(self._reward_context)
        twin._terms = twin.reward.terms()
        if reseed is not None:
            twin._seed_rows(np.arange(len(rows)), reseed)
            twin._episode_seeds = np.arange(reseed, reseed + len(rows), dtype=np.uint64)
        return twin

    def reseed(self, row: int, generator: np.random.Generator) -> None:
        """Draw row `row`'s future episodes from another generator."""
        self._seeds.reseed(row, generator)
        self._row_seeds = (*self._row_seeds[:row], -1, *self._row_seeds[row + 1 :])  # Gymnasium's word for "unknown"

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator. Episode seeds are taken from it in blocks (`seeding.EpisodeSeeds`)."""
        return tuple(self._seeds.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What each row's generator was seeded with."""
        return self._row_seeds

    def render(self) -> tuple[Any, ...] | None:
        """A frame for each row: text in mode "ansi", (H, W, 3) uint8 in "rgb_array"; "human" prints and gives None."""
        if self.render_mode is None or self._state is None:
            return None
        return self._renderer.frames(self.render_mode, self._state, self._paid.sum(1), self._dialogues.tolist())


@dataclass(frozen=True)
class _Episodes:
    """What some rows (R,) are about to play."""

    seeds: np.ndarray  # (R,) uint64, of the episodes
    drawn: Drawn
    dialogues: Sequence[Dialogue | None]


def _objects(values: Sequence[Any]) -> np.ndarray:
    """(R,) object array: many rows are read and written at once."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
