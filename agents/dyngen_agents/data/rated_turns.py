"""What people have rated as episodes to learn from: the turns of a feedback store, with their ratings as rewards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dyngen_agents.data.episode_store import EpisodeStore, StoredEpisode
from dyngen_agents.data.forbidden_tokens import ForbiddenTokens
from dyngen_agents.data.offline import check_vocabulary
from dyngen_agents.feedback.recordings import HIGHEST_RATING, NO_OPINION, DialoguePath, Opinions, opinions, paths
from dyngen_agents.feedback.store import FeedbackStore, Turn
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.loading.models import context_window, load_config

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RatedEpisodes:
    """What a store has to learn from.

    Attributes:
        episodes: with the log-probs of the policies that played them.
        feedback: ids of the feedback in them.
        until: the id of the last feedback that counted, by which the same episodes can be read again.
        versions: how many different policies have played them.
    """

    episodes: EpisodeStore
    feedback: tuple[int, ...]
    until: int
    versions: int


def last_feedback(file: str | Path) -> int:
    """The id of the last feedback in a store; 0 if there is none. Errors are those of `read_rated`."""
    with FeedbackStore(file, create=False) as store:
        return max([0, *(given.id for given in store.feedback())])


def read_rated(file: str | Path, env: TextGenVectorEnv, until: int) -> RatedEpisodes:
    """The dialogues of a store in which people have rated the agent, one episode for each path.

    A turn is paid the mean of its ratings divided by 4 with its last token; one that nobody has rated is paid nothing.
    What belongs to several paths is learned from once, with the first of them.

    Args:
        env: whose vocabulary the turns must be in.
        until: the id of the last feedback that counts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no store, nothing in it can be learned from, or it is in another vocabulary.
    """
    window = context_window(load_config(env.model)) if env.model else env.max_context_tokens
    with FeedbackStore(file, create=False) as store:
        said = opinions(store, until)
        found = _Found(said, window, env.tokenizer.end_ids)
        for dialogue in store.dialogues():
            for path in paths(store, dialogue):
                found.add(path)
    others = sorted({turn.model.name for _, turns in found.pieces for turn in turns if turn.model} - {env.model})
    for name in others:
        check_vocabulary(Path(file), name, env)
    forbidden = ForbiddenTokens(env)
    pieces = [(episode, turns) for episode, turns in found.pieces if forbidden.without([episode])]
    counted = {
        f"{found.unknown} rated turns of which nobody knows which policy wrote them and how likely their tokens were": (
            found.unknown
        ),
        f"{found.wide} episodes of more than the {window} tokens that the model can hold": found.wide,
        f"{forbidden}": forbidden.episodes,
    }
    left_out = ", and ".join(reason for reason, count in counted.items() if count)
    if not pieces:
        why = f", but {left_out}" if left_out else ": nobody has rated what a model wrote in it yet"
        raise ValueError(
            f"{file} has nothing to learn from{why}. What can be learned from, once people have rated it, is turns of "
            "`dyngen serve`, and those that runs and `dyngen record` have played with a reward such as "
            f"human('{file}', 'deferred')"
        )
    if left_out:
        log.warning("%s: left out are %s", file, left_out)
    learned = [turn for _, turns in pieces for turn in turns]
    if others:
        written = sum(turn.model is not None and turn.model.name in others for turn in learned)
        log.info(
            "%s: %d of %d turns were written by %s, not by %s: they teach it less, the less it would have written them",
            file, written, len(learned), ", ".join(others), env.model,
        )  # fmt: skip
    feedback = {number for turn in learned for number in said.get(turn.id, NO_OPINION).feedback}
    episodes = EpisodeStore([episode for episode, _ in pieces])
    return RatedEpisodes(episodes, tuple(sorted(feedback)), until, len({turn.model for turn in learned}))


def note_use(file: str | Path, run: Path, feedback: Sequence[int]) -> None:
    """Write into the store that a run learns from this feedback, so that `forget` can name the run."""
    with FeedbackStore(file, create=False) as store:
        store.used_by(str(run.absolute()), feedback)


class _Found:
    """Episodes, and the turns in them, as paths of dialogues are looked through; how many cannot be learned from.

    Args:
        said: what people have said, by the id of the turn. window: the most tokens of an episode.
        end_ids: tokens by which the agent ends a turn itself.

    Attributes:
        pieces: the episodes, each with its turns.
    """

    def __init__(self, said: dict[int, Opinions], window: int, end_ids: frozenset[int]):
        self.said, self.window, self.end_ids = said, window, end_ids
        self.pieces: list[tuple[StoredEpisode, list[Turn]]] = []
        self.unknown, self.wide = 0, 0
        self._taken: set[int] = set()

    def add(self, path: DialoguePath) -> None:
        agent = [turn for turn in path.turns if turn.role == "agent"]
        while agent and self._rating(agent[-1]) is None:
            agent.pop()  # not finished: what it earns is not known
        new = [turn for turn in agent if turn.id not in self._taken]
        self._taken.update(turn.id for turn in new)
        known = [turn for turn in new if turn.tokens and turn.context and turn.logprobs and turn.model]
        self.unknown += sum(self._rating(turn) is not None for turn in new if turn not in known)
        for turns in _joined(known):
            if len(_ids(turns[-1])) > self.window:
                self.wide += 1
            else:
                self.pieces.append((self._episode(path.prompt, turns), turns))

    def _rating(self, turn: Turn) -> float | None:
        return self.said.get(turn.id, NO_OPINION).rating

    def _episode(self, prompt: str, turns: Sequence[Turn]) -> StoredEpisode:
        tokens = torch.tensor(_ids(turns[-1]), dtype=torch.int64)
        mask, logprobs, rewards = torch.zeros(len(tokens), dtype=torch.bool), *torch.zeros(2, len(tokens))
        for turn in turns:
            start, end = len(turn.context or ()), len(_ids(turn))
            mask[start:end] = True
            logprobs[start:end] = torch.tensor(turn.logprobs)
            rewards[end - 1] = (self._rating(turn) or 0.0) / HIGHEST_RATING
        stopped = int(tokens[-1]) in self.end_ids
        return StoredEpisode(tokens, mask, rewards, logprobs, prompt=prompt, text=turns[-1].text, stopped=stopped)


def _ids(turn: Turn) -> list[int]:
    """All ids up to the end of the turn."""
    return [*(turn.context or ()), *(turn.tokens or ())]


def _joined(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Turns of one path in pieces that are one row of tokens each: every turn's context begins with those before it."""
    pieces: list[list[Turn]] = []
    for turn in turns:
        before = _ids(pieces[-1][-1]) if pieces else []
        if pieces and list(turn.context or ())[: len(before)] == before:
            pieces[-1].append(turn)
        else:
            pieces.append([turn])
    return pieces
