"""Recorded episodes: a file of JSON lines that says what was asked, what the agent wrote, and what users answered.

    {"prompt": "2+2=", "text": "4"}
    {"prompt": "Any good films?", "dialogue": [{"role": "agent", "text": "Alien!"}, {"role": "user", "text": "no"}]}

Each line is an episode. It has `prompt`, and `text` (or `completion`), what the agent wrote, or, where a user
answered, `dialogue`: the turns in order, as `info["dialogue"]` of an env has them (the prompt may stand there as the
first of them). What else may be there is optional: `reference`, `facts`, `task` (see `Example`); `rating`, `ends` and
`revise` of a user's turn (see `Feedback`); `reward`, what the episode earned; `finish_reason`; `policy`, who wrote it;
`model`, `tokens` and `turns`: the ids of the whole episode in the vocabulary of that model, and where in them each of
the agent's turns begins and ends; `token_rewards` and `logprobs`: what each token that the agent chose was paid, and
how likely it was under the policy that chose it; `media`, of the episode or of a user's turn: the numbers of the
pictures and sounds shown before the words, whose files are in the folder `media` beside. Other keys are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from dyngen_agents.data.trajectories import Trajectories
from dyngen_env.mdp.state import FINISH_REASONS
from dyngen_env.text.media import Medium
from dyngen_env.text.media.folder import MEDIA, load, save
from dyngen_env.text.media.tokens import media_of
from dyngen_env.types import Dialogue, Example, Feedback

EPISODES = "episodes.jsonl"  # what the last evaluation of a run has played, in its folder


@dataclass(frozen=True)
class EpisodeTokens:
    """An episode's ids in the vocabulary of `model`, and the [start, end) of each turn of the agent in them.

    For each id of the agent's turns, in order: what it was paid, and its log-prob under the policy that chose it, nats.
    """

    model: str
    ids: Sequence[int]
    turns: Sequence[tuple[int, int]]
    rewards: Sequence[float] | None = None
    logprobs: Sequence[float] | None = None


@dataclass(frozen=True)
class Episode:
    """One recorded episode: `completions[i]` is what the agent wrote in turn i, `feedback[i]` the user's answer to it.

    `feedback` is empty where no user answers; the last turn may be without an answer. `finish_reason` is one of
    `FINISH_REASONS`, and "" if nobody knows it. `reward` is what the whole episode earned, where that was said.
    """

    example: Example
    completions: tuple[str, ...]
    feedback: tuple[Feedback, ...] = ()
    answered: bool = False  # whether a user took part
    finish_reason: str = ""
    policy: str = ""
    tokens: EpisodeTokens | None = None
    reward: float | None = None

    @property
    def media(self) -> tuple[Medium, ...]:
        """What the episode shows, in order."""
        return (*self.example.media, *(medium for answer in self.feedback for medium in answer.media))

    def dialogue(self, turns: int) -> Dialogue | None:
        """The dialogue after so many turns of the agent and the answers to them; None if no user took part."""
        if not self.answered:
            return None
        return Dialogue(self.example, None, self.completions[:turns], self.feedback[:turns])


def recorded(batch: Trajectories, examples: Sequence[Example], model: str, policy: str = "") -> list[Episode]:
    """The episodes of a rollout.

    Args:
        examples: (N,) what they were begun with. model: whose vocabulary they are in. policy: who played.
    """
    out = []
    for row, example in enumerate(examples):
        talk, reason = batch.dialogues[row], batch.finish_reasons[row]
        texts, feedback = ((batch.texts[row],), ()) if talk is None else _turns_of(talk, reason)
        tokens = _tokens_of(batch, row, model)
        one_row = len(batch.starts[row]) == 1 if batch.starts else True  # else the ids are those of several contexts
        # Turns with nothing between them run together.
        known = tokens if one_row and len(tokens.turns) == len(texts) else None
        if known is not None and batch.media and batch.media[row]:
            feedback = _with_media(feedback, known)
        out.append(Episode(example, texts, feedback, talk is not None, reason, policy, known))
    return out


def write_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """Write the file anew, and what the episodes show beside it. Raises OSError if that fails."""
    path.write_text("".join(line_of(episode, path.parent) for episode in episodes), encoding="utf-8")


def line_of(episode: Episode, folder: Path, **more: Any) -> str:
    """An episode as a line of a file in this folder, into which what it shows is written; `more` are further keys."""
    save(folder / MEDIA, episode.media)
    return json.dumps(as_record(episode) | more, ensure_ascii=False) + "\n"


def read_episodes(path: Path) -> list[Episode]:
    """The episodes of a file.

    Raises:
        FileNotFoundError: no such file. ValueError: none in it, or a line that is no episode; the message says which.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file of episodes {path}")
    episodes = []
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                episodes += _from_line(json.loads(line), path.parent / MEDIA)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                wrong = f"{error} is missing" if isinstance(error, KeyError) else error
                raise ValueError(
                    f'{path}, line {number}: {wrong}; expected {{"prompt": "...", "text": "..."}}'
                ) from error
    if not episodes:
        raise ValueError(f'{path} holds no episodes: expected a line {{"prompt": "...", "text": "..."}} for each')
    return episodes


def as_record(episode: Episode) -> dict[str, Any]:
    """An episode as a line of the file has it."""
    example = episode.example
    record: dict[str, Any] = {"prompt": example.prompt}
    record |= {} if example.reference is None else {"reference": example.reference}
    record |= {} if (facts := _as_json(example.facts)) is None else {"facts": facts}
    record |= {} if example.task is None else {"task": example.task}
    record |= _numbers(example.media)
    if episode.answered:
        record["dialogue"] = list(_turns(episode))
    else:
        record["text"] = episode.completions[0]
    record |= {key: value for key in ("finish_reason", "policy") if (value := getattr(episode, key))}
    record |= {} if episode.reward is None else {"reward": episode.reward}
    if episode.tokens is not None:
        t = episode.tokens
        record |= {"model": t.model, "tokens": list(t.ids), "turns": [list(turn) for turn in t.turns]}
        known = {"token_rewards": t.rewards, "logprobs": t.logprobs}
        record |= {key: list(values) for key, values in known.items() if values is not None}
    return record


def _as_json(facts: Any) -> Any:
    """Facts as JSON has them, dataclasses as objects and sets as sorted lists; None if JSON cannot hold them."""
    try:
        return json.loads(json.dumps(facts, default=_as_plain))
    except (TypeError, ValueError, RecursionError):
        return None  # the episode is worth more than what cannot be written of it


def _as_plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def _turns(episode: Episode) -> Iterator[dict[str, Any]]:
    for i, text in enumerate(episode.completions):
        yield {"role": "agent", "text": text}
        for answer in episode.feedback[i : i + 1]:
            turn = {"role": "user", "text": answer.text, "rating": answer.rating, "ends": answer.ends}
            yield turn | ({"revise": True} if answer.revise else {}) | _numbers(answer.media)


def _numbers(media: Sequence[Medium]) -> dict[str, Any]:
    return {"media": [medium.number for medium in media]} if media else {}


def _shown(of: dict[str, Any], folder: Path) -> tuple[Medium, ...]:
    """The inverse of `_numbers`: the media of an episode or of a user's turn, from the files in the folder."""
    return tuple(load(folder, number) for number in of.get("media") or ())


def _with_media(feedback: Sequence[Feedback], tokens: EpisodeTokens) -> tuple[Feedback, ...]:
    """Answers with the media that stand between the agent's turns; what nobody has read any more is left out."""
    borders = [*(border for turn in tokens.turns for border in turn), len(tokens.ids)]
    shown = [media_of(tokens.ids[borders[i] : borders[i + 1]]) for i in range(1, len(borders), 2)]
    return tuple(replace(answer, media=media) for answer, media in zip(feedback, shown, strict=False))


def _from_line(record: dict[str, Any], media: Path) -> list[Episode]:
    """One episode; of a pair {"prompt", "chosen", "rejected"}, as people give them, two with a reward of 1 and 0."""
    if "messages" in record and "prompt" not in record:
        return []  # of an export of people's dialogues, one in which the agent has not spoken
    if not ("chosen" in record and "rejected" in record):
        return [_from_record(record, media)]
    of_both = {"prompt": record["prompt"], "media": record.get("media")}
    return [
        _from_record(of_both | {"text": record["chosen"], "reward": 1.0}, media),
        _from_record(of_both | {"text": record["rejected"], "reward": 0.0}, media),
    ]


def _from_record(record: dict[str, Any], media: Path) -> Episode:
    reason = record.get("finish_reason", "")
    if reason not in FINISH_REASONS:
        raise ValueError(f"finish_reason {reason!r}: expected one of {', '.join(FINISH_REASONS[1:])}")
    talk = record.get("dialogue")
    texts: tuple[str, ...]
    feedback: tuple[Feedback, ...]
    if talk is None:
        said = "completion" if "completion" in record and "text" not in record else "text"
        texts, feedback = (record[said],), ()
    else:
        texts, feedback = _turns_of([turn | {"media": _shown(turn, media)} for turn in talk], reason)
    prompt = record["prompt"] if talk is None or "prompt" in record else talk[0]["text"]
    for text in (prompt, *texts, *(answer.text for answer in feedback)):
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is no text")
    tokens = None
    if record.get("tokens") is not None:
        turns = [(start, end) for start, end in record["turns"]]
        tokens = EpisodeTokens(
            record["model"], record["tokens"], turns, record.get("token_rewards"), record.get("logprobs")
        )
        _check_tokens(tokens, len(texts))
    reward = record.get("reward")
    if reward is not None and not (isinstance(reward, int | float) and math.isfinite(reward)):
        raise ValueError(f"reward {reward!r} is no finite number")
    example = Example(prompt, record.get("reference"), record.get("facts"), _shown(record, media), record.get("task"))
    return Episode(example, texts, feedback, talk is not None, reason, record.get("policy", ""), tokens, reward)


def _turns_of(talk: Sequence[dict[str, Any]], finish_reason: str) -> tuple[tuple[str, ...], tuple[Feedback, ...]]:
    """What the agent said, and what the user answered to that, in a dialogue as `info["dialogue"]` has it.

    Raises:
        ValueError: the agent says nothing, or two turns of the same role follow each other.
    """
    turns = list(talk)[1:] if talk and talk[0]["role"] == "user" else list(talk)
    roles = [turn["role"] for turn in turns]
    if not turns or roles != (["agent", "user"] * len(turns))[: len(turns)]:
        raise ValueError(f"the dialogue's roles are {[t['role'] for t in talk]}: expected agent and user in turn")
    answers = [
        Feedback(t["text"], t.get("rating"), t.get("ends", False), t.get("revise", False), t.get("media", ()))
        for t in turns[1::2]
    ]
    ends = "goal" if finish_reason == "goal" else finish_reason == "user"
    if ends and len(answers) == len(turns[::2]) and not answers[-1].ends:
        answers[-1] = replace(answers[-1], ends=ends, revise=False)
    return tuple(turn["text"] for turn in turns[::2]), tuple(answers)


def _tokens_of(batch: Trajectories, row: int, model: str) -> EpisodeTokens:
    """The ids of a row, up to the last that the agent chose, the runs of these, and their rewards and log-probs."""
    tokens, mask = batch.tokens[row], batch.completion_mask[row]
    length = int((tokens >= 0).sum())
    turns, at = [], 0
    for chosen, run in groupby(mask[:length].tolist()):
        end = at + len(list(run))
        if chosen:
            turns.append((at, end))
        at = end
    rewards, logprobs = (_short(x[row][mask]) for x in (batch.rewards, batch.logprobs))
    return EpisodeTokens(model, tokens[: turns[-1][1]].tolist(), turns, rewards, logprobs)


def _short(numbers: Tensor) -> list[float]:
    """The shortest decimals that are these float32 numbers (n,)."""
    return [float(str(number)) for number in numbers.float().numpy(force=True)]


def _check_tokens(tokens: EpisodeTokens, turns: int) -> None:
    borders = [border for turn in tokens.turns for border in turn]
    if len(tokens.turns) != turns or any(a > b for a, b in pairwise(borders)):
        raise ValueError(f"turns are {tokens.turns}: expected the beginnings and ends of {turns} turns, in order")
    if borders[0] < 1 or borders[-1] != len(tokens.ids) or any(start == end for start, end in tokens.turns):
        raise ValueError(
            f"turns are {tokens.turns} of {len(tokens.ids)} tokens: expected a prompt, and turns to the end"
        )
    chosen = sum(end - start for start, end in tokens.turns)
    for name, values in (("token_rewards", tokens.rewards), ("logprobs", tokens.logprobs)):
        if values is not None and (len(values) != chosen or not all(map(math.isfinite, values))):
            raise ValueError(f"there are {len(values)} {name} for {chosen} tokens: expected a finite number for each")
