"""How a batch of rows is played on: token by token, or several tokens a row before the host looks.

`player` makes the choice. Both ways give a row the same tokens, as its random numbers depend on its own steps alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_agents.policy.decoder import Decoder, decoder_for
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.mdp.state import LIVE
from dyngen_env.tasks import MixedTask
from dyngen_env.users.user import cuts_in

Act = Callable[[Tensor, Tensor], Action]
MOST_STEPS = 16  # between two looks of the host. A look costs less than a step; the last row may end after the first
KEPT = 0.75  # of the rows; while more than these play, leaving out the others saves less than copying caches costs
WAITING = 0.05  # of a row's time it may wait at most, on average, for the host to see that its turn has ended


class Outcome(NamedTuple):
    """What the env has answered to tokens of B rows."""

    at: Tensor  # (B, 1) int64, where each row's last token stood
    rewards: Tensor  # (B,) float32
    terminated: Tensor  # (B,) bool
    truncated: Tensor  # (B,) bool
    infos: dict[str, Any]


@runtime_checkable
class Listener(Protocol):
    """An actor that hears what users say otherwise than by the tokens of the context. It plays token by token."""

    notes: Notes | None
    """(B, C, W) what it now attends to in each row; None before it has heard anything."""

    def forget(self) -> None:
        """All rows begin anew, with other people."""

    def cut(self, rows: Tensor) -> None:
        """The contexts of rows (R,) have lost tokens: what was noted so far counts from their first token on."""

    def hear(self, env: TextGenVectorEnv, lengths: Tensor, ended: Sequence[Any]) -> None:
        """Look at `env.dialogues` before the next token of each row is chosen.

        Args:
            lengths: (B,) int64, how many tokens the rows have.
            ended: (B,) what was said in episodes that the last step has ended, as `info["dialogue"]` has it, and None
                in other rows; or empty.
        """


@runtime_checkable
class Heeding(Protocol):
    """An actor that does more than to choose, for the rows whose episodes count alone. It plays token by token."""

    def heed(self, counted: np.ndarray) -> None:
        """Told before the next token of each row is chosen: counted (B,) bool. Other rows have played all of theirs."""


class Player(Protocol):
    """Writes and plays B rows of L tokens. What was chosen in the episodes that go on stands in three tensors."""

    logprobs: Tensor  # (B, L) float32
    values: Tensor  # (B, L) float32
    chosen: Tensor  # (B, L) bool

    def begin(self, tokens: Tensor) -> None:
        """The env has been reset: its rows hold these tokens (B, L)."""

    def play(self, left: np.ndarray) -> tuple[np.ndarray, int, Outcome | None]:
        """Play on in rows that have episodes left to play: left (B,) int64, this one included.

        Returns:
            how many tokens each row was given (B,); how many steps the batch has taken; what the env has answered,
            None as long as there is nothing to be told.
        """

    def notes_of(self, rows: Tensor) -> dict[str, Tensor]:
        """What the actor attends to in `rows` (R,) beside their tokens, as `Trajectories.notes`; empty if nothing."""

    def clear(self, ended: Tensor) -> None:
        """New episodes begin in rows (R,)."""

    def cut(self, rows: Tensor) -> None:
        """In rows (R,) the episodes go on in other token rows: what was chosen so far stands there no more."""

    def finish(self) -> None:
        """No more is played."""


def player(env: TextGenVectorEnv, actor: Act, steps: int | None) -> Player:
    """The way to play for this env and actor.

    Args:
        steps: how many tokens a row may be given between two looks of the host. None: on a GPU as many as pay, which
            depends on how long episodes are; token by token on a CPU, where a look costs nothing.
    """
    decoder = None if steps is None and env.device.type != "cuda" else _decoder(env, actor)
    return TokenByToken(env, actor) if decoder is None else SeveralTokens(env, actor, decoder, steps)  # type: ignore[arg-type]


def _decoder(env: TextGenVectorEnv, actor: Act) -> Decoder | None:
    """None if somebody has to see every step: an actor or an env that is not ours, some rewards, a user who cuts in."""
    ours = type(actor) is Actor and type(actor.policy) is CausalLMPolicy
    if not ours or type(env) is not TextGenVectorEnv or "step" in vars(env) or env.reward.every_step:
        return None
    if cuts_in(env.user) or isinstance(env.task, MixedTask):  # the decoder knows one budget of turns for all rows
        return None
    assert isinstance(actor, Actor)
    width = env.max_context_tokens
    here = env.legal_tokens().device  # with its index, which `env.device` may lack
    if actor.policy.value_head.weight.device != here or not actor.policy.engine.caches(width):
        return None
    return decoder_for(actor.policy, env.rules, env.banned, env.num_envs, width)


class TokenByToken:
    """Asks the actor for a token in each row and steps the env by it. Works for any actor and any env.

    Rows without episodes left to play are given some legal token, as the env has no rows that rest. An `Actor` does not
    see what becomes of them, and is no longer asked for them as soon as they are a quarter of those asked for.
    """

    def __init__(self, env: TextGenVectorEnv, actor: Act):
        self.env, self.actor = env, actor
        self._listener = actor if isinstance(actor, Listener) else None
        self._heeding = actor if isinstance(actor, Heeding) else None
        self._plain: Actor | None = None  # the actor, if rows can be left out of what it is asked for
        if type(actor) is Actor and type(actor.policy) is CausalLMPolicy:
            self._plain = actor
            self._goes_on = int((env.rules.outcome[0] == LIVE).nonzero()[0])

    def begin(self, tokens: Tensor) -> None:
        self._tokens, self._ended = tokens, ()
        if self._plain is not None:
            self._plain.keep(None)
            self._asked = torch.arange(len(tokens), device=tokens.device)  # (R,) rows that the actor is asked for
            self._shown = tokens  # (B, L), as the rows were when they were played on last
        if self._listener is not None:
            self._listener.forget()
        self.logprobs, self.values = (torch.zeros(tokens.shape, device=tokens.device) for _ in range(2))
        self.chosen = torch.zeros_like(tokens, dtype=torch.bool)

    def play(self, left: np.ndarray) -> tuple[np.ndarray, int, Outcome]:
        lengths = (self._tokens >= 0).sum(1)
        if self._listener is not None:
            self._listener.hear(self.env, lengths, self._ended)
        if self._heeding is not None:
            self._heeding.heed(left > 0)
        action = self._act(lengths, left)
        at = lengths.unsqueeze(1)
        self.logprobs.scatter_(1, at, action.logprobs.unsqueeze(1))
        self.values.scatter_(1, at, action.values.unsqueeze(1))
        self.chosen.scatter_(1, at, True)
        self._tokens, rewards, terminated, truncated, infos = self.env.step(action.tokens)
        self._ended = infos.get("final_info", {}).get("dialogue", ())
        return np.ones_like(left), 1, Outcome(at, rewards, terminated, truncated, infos)

    def _act(self, lengths: Tensor, left: np.ndarray) -> Action:
        """The next token of each row; where a row has no episode left to play, one that does not matter."""
        if self._plain is None:
            return self.actor(self._tokens, lengths)
        playing = torch.from_numpy(left > 0).to(lengths.device)
        self._leave_out(self._plain, playing)
        self._shown = torch.where(playing.unsqueeze(1), self._tokens, self._shown)
        everyone = len(self._asked) == len(playing)
        tokens = self._shown if everyone else self._shown[self._asked]
        action = self._plain(tokens, (tokens >= 0).sum(1))
        if not everyone:
            action = Action(*(x.new_zeros(len(playing)).index_copy(0, self._asked, x) for x in action))
        return action._replace(tokens=torch.where(playing, action.tokens, self._goes_on))

    def _leave_out(self, actor: Actor, playing: Tensor) -> None:
        """Ask the actor for no more rows than are `playing` (B,), if that makes them a good deal fewer."""
        places = playing[self._asked].nonzero().squeeze(1)
        if len(places) <= KEPT * len(self._asked):
            actor.keep(places)
            self._asked = self._asked[places]

    def notes_of(self, rows: Tensor) -> dict[str, Tensor]:
        notes = None if self._listener is None else self._listener.notes
        return {} if notes is None else notes.take(rows).as_dict()

    def clear(self, ended: Tensor) -> None:
        for buffer in (self.logprobs, self.values, self.chosen):
            buffer[ended] = 0

    def cut(self, rows: Tensor) -> None:
        self.clear(rows)
        if self._listener is not None:
            self._listener.cut(rows)

    def finish(self) -> None:
        if self._plain is not None:
            self._plain.keep(None)  # whoever goes on with this actor asks for all rows


class SeveralTokens:
    """Gives rows several tokens by a `Decoder`, looks which of them have ended, and then tells the env.

    Rows without episodes left to play are given none. With `steps` the number of tokens between two looks is fixed.
    """

    def __init__(self, env: TextGenVectorEnv, actor: Actor, decoder: Decoder, steps: int | None):
        self.env, self.actor, self.decoder, self.steps = env, actor, decoder, steps
        memory = decoder.memory
        self.logprobs, self.values, self.chosen = memory.logprobs, memory.values, memory.chosen
        self._each_token = env.reward.per_token
        self._lengths_seen: list[int] = []

    def begin(self, tokens: Tensor) -> None:
        self.actor.keep(None)
        self.decoder.begin(self.actor.seed, self.actor.numbers(tokens), self.actor.step)
        for buffer in (self.logprobs, self.values, self.chosen):
            buffer.zero_()
        self._counted = np.full(len(tokens), self.actor.step)  # tokens given to each row, as the actor counts them
        self._untold = np.zeros(len(tokens), dtype=np.int64)  # of them, those that the env does not know of
        self._episode = np.zeros(len(tokens), dtype=np.int64)  # of its episode
        self._turn = np.zeros(len(tokens), dtype=np.int64)  # of its turn
        self._longest: int | None = None  # unknown until the env's state is loaded

    def play(self, left: np.ndarray) -> tuple[np.ndarray, int, Outcome | None]:
        playing = left > 0
        if self._longest is None:
            parked = torch.from_numpy(~playing).to(self.env.device)
            self.decoder.load(self.env.state, parked)
            self._longest = int(self.env.state.length.max())
        count = self._count(left)
        self.decoder.run(count, self._longest, self.actor.deterministic)
        finish, length, counted = self.decoder.read()
        given = counted - self._counted
        self._counted, self._longest = counted, int(length.max())
        for tally in (self._untold, self._episode, self._turn):
            tally += given
        turns = np.flatnonzero((finish != 0) & playing)
        limit = self.env.options.max_episode_steps
        if len(turns) or self._each_token or (limit and (self._episode[playing] >= limit).any()):
            return given, count, self._tell(turns)
        return given, count, None

    def _count(self, left: np.ndarray) -> int:
        """How many tokens to give each row before the next look."""
        playing = left > 0
        limit = self.env.options.max_episode_steps
        room = self.env.max_new_tokens - int(self._turn[playing].min())  # beyond it every row has ended
        if limit:
            room = min(room, limit - int(self._episode[playing].max()))
        if self._each_token:
            return 1
        if self.steps is not None:
            return max(1, min(self.steps, room))
        if self.env.user.answers or (left > 1).any():  # a row that waits could go on
            usual = np.mean(self._lengths_seen[-256:]) if self._lengths_seen else self.env.max_new_tokens
            room = min(room, int(2 * WAITING * usual))  # it waits half the time between two looks
        return max(1, min(MOST_STEPS, room))

    def _tell(self, turns: np.ndarray) -> Outcome:
        before, spoken = self.decoder.spoken()
        last = self.decoder.memory.last.clone()
        _, rewards, terminated, truncated, infos = self.env.advance(before, last, spoken, turns, self._untold)
        self._untold = np.zeros_like(self._untold)
        self._lengths_seen += self._turn[turns].tolist()
        self._turn[turns] = 0
        self._longest = None
        return Outcome((spoken.length - 1).unsqueeze(1), rewards, terminated, truncated, infos)

    def notes_of(self, rows: Tensor) -> dict[str, Tensor]:
        return {}

    def cut(self, rows: Tensor) -> None:
        self.decoder.clear(rows)

    def clear(self, ended: Tensor) -> None:
        self.decoder.clear(ended)
        self._episode[ended.numpy(force=True)] = 0
        self._turn[ended.numpy(force=True)] = 0

    def finish(self) -> None:
        # As many steps as the actor would have been asked for: those of the row that was busy for longest.
        self.actor.step = int(self._counted.max())
