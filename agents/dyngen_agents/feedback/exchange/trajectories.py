"""A dialogue as one row: an episode that `dyngen_agents.data.episodes` reads, and TRL's `messages`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from dyngen_agents.feedback.exchange.files import Row
from dyngen_agents.feedback.exchange.records import Snapshot
from dyngen_agents.feedback.store import Dialogue, StoredFeedback, Turn


def trajectory(held: Snapshot, talk: Dialogue, said: Sequence[Turn]) -> Row:
    """The row of a dialogue. Where the agent has not spoken it is no episode, and has nothing but `messages`.

    Its line goes to the turn that was added last, or to the candidate beside that which somebody has preferred. What
    stands elsewhere in the dialogue is in `record`. A turn's rating is the mean of what people said last.

    Args:
        said: all turns of the dialogue.
    """
    line = main_line(held, said)
    agents = [number for number, turn in enumerate(line) if turn.role == "agent"]
    first = agents[0] if agents else len(line)
    opening = {"system" if first else "user": talk.opening} if talk.opening else {}
    messages = [{"role": role, "content": text} for role, text in opening.items()]
    roles = {"agent": "assistant", "user": "user"}
    messages += [{"role": roles[turn.role], "content": turn.text} for turn in line]
    numbers = {turn.id for turn in said}
    feedback = [given for given in held.feedback.values() if given.turns[0] in numbers]
    person = {"person": talk.person.name} if talk.person else {}
    episode = _episode(held, talk, line[:first], line[first:]) if agents else {}
    return episode | person | {"messages": messages, "record": held.record(said, feedback, [talk])}


def _episode(held: Snapshot, talk: Dialogue, heard: Sequence[Turn], line: Sequence[Turn]) -> Row:
    """A line as an episode: what was heard before the agent's first turn is its prompt."""
    row: Row = {"prompt": "\n".join(filter(None, [talk.opening, *(turn.text for turn in heard)]))}
    blocks = _in_turn(line)
    ratings = [_rating(held, block[-1]) for block in blocks if block[0].role == "agent"]
    if len(blocks) == 1 and not heard:
        row |= {"text": _text(blocks[0])} | ({} if ratings[0] is None else {"reward": ratings[0]})
    else:
        row["dialogue"] = _spoken(blocks, ratings)
    return row | _policy(line) | _tokens(blocks)


def main_line(held: Snapshot, said: Sequence[Turn]) -> list[Turn]:
    """The turns from the first to the last, where the last one is the best of the candidates for its place."""
    if not said:
        return []
    last = said[-1]
    beside = {turn.id for turn in said if turn.parent == last.parent and turn.role == last.role}
    chosen = [
        given.turns[0]
        for given in held.feedback.values()
        if given.kind in ("preference", "ranking") and beside.issuperset(given.turns)
    ]
    return held.path_to(held.turns[chosen[-1]] if chosen else last)


def _in_turn(line: Sequence[Turn]) -> list[list[Turn]]:
    """The turns of a line, those of one role that follow each other together."""
    blocks: list[list[Turn]] = []
    for turn in line:
        if blocks and blocks[-1][0].role == turn.role:
            blocks[-1].append(turn)
        else:
            blocks.append([turn])
    return blocks


def _spoken(blocks: Sequence[Sequence[Turn]], ratings: Sequence[float | None]) -> list[dict[str, Any]]:
    """The turns as an episode has them: how a turn was rated stands in the user's answer to it."""
    spoken: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        spoken.append({"role": block[0].role, "text": _text(block)})
        if block[0].role == "agent" and number + 1 == len(blocks):
            spoken.append({"role": "user", "text": ""})
    for answer, rating in zip(spoken[1::2], ratings, strict=True):
        answer["rating"] = rating
    return spoken


def _text(block: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in block)


def _rating(held: Snapshot, turn: Turn) -> float | None:
    last: dict[int, StoredFeedback] = {
        given.person.id: given
        for given in held.feedback.values()
        if given.kind == "rating" and given.turns[0] == turn.id
    }
    return mean(given.value for given in last.values()) if last else None


def _policy(line: Sequence[Turn]) -> Row:
    stamps = {turn.model for turn in line if turn.model is not None}
    if len(stamps) != 1:
        return {}
    [stamp] = stamps
    return {"policy": f"{stamp.name} {stamp.version}".rstrip()}


def _tokens(blocks: Sequence[Sequence[Turn]]) -> Row:
    """The ids of the whole episode and where in them the agent's turns are, if every turn's context tells it."""
    said = [block for block in blocks if block[0].role == "agent"]
    if any(len(block) > 1 or not (block[0].tokens and block[0].context and block[0].model) for block in said):
        return {}
    turns = [block[0] for block in said]
    read, written = [turn.context or () for turn in turns], [turn.tokens or () for turn in turns]
    wholes = [(*before, *tokens) for before, tokens in zip(read, written, strict=True)]
    if any(before[: len(whole)] != whole for whole, before in zip(wholes, read[1:], strict=False)):
        return {}  # the context was cut, or written anew
    names = {turn.model.name for turn in turns if turn.model}
    if len(names) > 1:
        return {}
    places = [[len(before), len(whole)] for before, whole in zip(read, wholes, strict=True)]
    row: Row = {"model": names.pop(), "tokens": list(wholes[-1]), "turns": places}
    if all(turn.logprobs for turn in turns):
        row["logprobs"] = [number for turn in turns for number in turn.logprobs or ()]
    return row
