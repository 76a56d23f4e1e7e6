"""What people said, as rows of TRL's data set types (https://huggingface.co/docs/trl/dataset_formats).

| format | a row for each | from |
|---|---|---|
| preference | better and worse answer | preferences, all pairs of rankings, corrections against what they correct |
| unpaired | answer that is good or not | thumbs; ratings other than 0, by their sign |
| prompt-completion | answer worth imitating | corrections; answers with thumbs up or a rating above 0 |
| stepwise | answer cut into steps, or dialogue | spans, where unmarked text counts as good; turns rated one by one |
| trajectories | dialogue | all, as `dyngen_agents.data.episodes` reads it, with TRL's `messages` |

Where no person speaks in any of the dialogues, prompts and answers are texts; else they are lists of messages. Of
several ratings by one person of one turn the last counts. Feedback about turns that people have said themselves is left
out: trainers would take these for the model's. `trajectories` alone holds all that was ever said; who was asked what,
the queue, stays behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from dyngen_agents.feedback.exchange.files import Row
from dyngen_agents.feedback.exchange.records import Snapshot
from dyngen_agents.feedback.exchange.trajectories import trajectory
from dyngen_agents.feedback.store import FeedbackStore, StoredFeedback, Turn

COLUMNS = "columns"  # in `extra`: columns of a data set that a row was imported from and that are nobody's else
ROLES = {"agent": "assistant", "user": "user"}


class Exported(NamedTuple):
    """The rows of a data set, and how much feedback or how many dialogues did not fit its format."""

    rows: list[Row]
    left_out: int


class _Answer(NamedTuple):
    """One row before it has columns: texts that answer one turn's prompt, by column."""

    turn: Turn
    feedback: tuple[StoredFeedback, ...]
    texts: dict[str, str]
    other: dict[str, Any]


def export_rows(store: FeedbackStore, format: str) -> Exported:
    """All that a store has for a format, as rows of a data set.

    Args:
        format: one of `FORMATS`.

    Raises:
        ValueError: there is no such format, or nothing in the store that fits it.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, expected one of {', '.join(FORMATS)}")
    held = Snapshot(store)
    exported = FORMATS[format](held)
    if not exported.rows:
        kinds = sorted({given.kind for given in held.feedback.values()})
        has = f"feedback of the kinds {', '.join(kinds)}" if kinds else "no feedback"
        has += f", {exported.left_out} of which do not fit" if exported.left_out else ""
        raise ValueError(
            f"{store.path} has nothing for the format {format}: it holds {len(held.dialogues)} dialogues and {has}"
        )
    return exported


def last_words(feedback: Sequence[StoredFeedback], kinds: Sequence[str]) -> list[StoredFeedback]:
    """Of each person the last feedback about each turn, of one of these kinds; a correction does not undo a rating."""
    chosen = [given for given in feedback if given.kind in kinds]
    last = {(given.person.id, given.turns, given.kind == "correction"): given for given in chosen}
    return sorted(last.values(), key=lambda given: given.id)


def _preference(held: Snapshot) -> Exported:
    answers, left_out = [], 0
    for given in held.feedback.values():
        turns = [held.turns[number] for number in given.turns]
        if given.kind not in ("correction", "preference", "ranking"):
            continue
        if not _about_the_agent(held, given) or len({_asked(held, turn) for turn in turns}) > 1:
            left_out += 1  # the texts are people's own, or answer different prompts
        elif given.kind == "correction":
            texts = {"chosen": given.value, "rejected": turns[0].text}
            answers.append(_Answer(turns[0], (given,), texts, {}))
        else:
            for place, better in enumerate(turns):
                for worse in turns[place + 1 :]:
                    texts = {"chosen": better.text, "rejected": worse.text}
                    answers.append(_Answer(better, (given,), texts, {}))
    return Exported(_rows(held, answers), left_out)


def _unpaired(held: Snapshot) -> Exported:
    answers, left_out = [], 0
    for given in last_words(list(held.feedback.values()), ("rating", "thumbs")):
        turn = held.turns[given.turns[0]]
        if given.value == 0 or not _about_the_agent(held, given):
            left_out += 1
        else:
            good = {"label": given.value > 0, "value": float(given.value)}
            answers.append(_Answer(turn, (given,), {"completion": turn.text}, good))
    return Exported(_rows(held, answers), left_out)


def _prompt_completion(held: Snapshot) -> Exported:
    answers, left_out = [], 0
    for given in last_words(list(held.feedback.values()), ("rating", "thumbs", "correction")):
        turn = held.turns[given.turns[0]]
        if not _about_the_agent(held, given):
            left_out += 1
        elif given.kind == "correction":
            answers.append(_Answer(turn, (given,), {"completion": given.value}, {}))
        elif given.value > 0:
            answers.append(_Answer(turn, (given,), {"completion": turn.text}, {"value": float(given.value)}))
        else:
            left_out += 1
    return Exported(_rows(held, answers), left_out)


def _stepwise(held: Snapshot) -> Exported:
    rows, left_out = list[Row](), 0
    spans: dict[tuple[int, int], list[StoredFeedback]] = {}
    for given in held.feedback.values():
        if given.kind == "span" and not _about_the_agent(held, given):
            left_out += 1
        elif given.kind == "span":
            spans.setdefault((given.turns[0], given.person.id), []).append(given)
    for (number, _), marked in spans.items():
        turn = held.turns[number]
        steps = list(_pieces(turn.text, marked))
        prompt = "\n".join(_texts(held, turn))
        rows.append(_steps(held, prompt, steps, [turn], marked))
    for talk, said in held.by_dialogue.items():
        for rated in _rated_turns(held, said):
            first, steps = "", list[tuple[str, bool]]()
            before = [held.dialogues[talk].opening]
            for turn in held.path_to(held.turns[max(rated)]):
                before.append(turn.text)
                if turn.role == "agent":
                    if turn.id not in rated:
                        break
                    if not steps:
                        first = "\n".join(filter(None, before[:-1]))
                        before = [turn.text]
                    steps.append(("\n".join(before), rated[turn.id].value > 0))
                    before = []
            if len(steps) > 1:
                rows.append(_steps(held, first, steps, [held.turns[number] for number in rated], list(rated.values())))
    return Exported(rows, left_out)


def _trajectories(held: Snapshot) -> Exported:
    return Exported([trajectory(held, held.dialogues[talk], said) for talk, said in held.by_dialogue.items()], 0)


FORMATS: dict[str, Callable[[Snapshot], Exported]] = {
    "preference": _preference,
    "unpaired": _unpaired,
    "prompt-completion": _prompt_completion,
    "stepwise": _stepwise,
    "trajectories": _trajectories,
}


def _rows(held: Snapshot, answers: Sequence[_Answer]) -> list[Row]:
    """The answers with their prompts, all as texts or all as messages."""
    talks = any(turn.role == "user" for answer in answers for turn in held.path_to(answer.turn))
    rows = []
    for answer in answers:
        given = answer.feedback[0]
        texts: dict[str, Any] = dict(answer.texts)
        if talks:
            texts = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
        prompt = _messages(held, answer.turn) if talks else "".join(_texts(held, answer.turn))
        row = {"prompt": prompt} | texts | answer.other | {"kind": given.kind, "person": given.person.name}
        own = given.extra.get(COLUMNS, {})
        columns = {name: value for name, value in own.items() if name not in row} if isinstance(own, dict) else {}
        rows.append(row | columns | {"record": held.record([answer.turn], answer.feedback)})
    return rows


def _steps(
    held: Snapshot,
    prompt: str,
    steps: Sequence[tuple[str, bool]],
    turns: Sequence[Turn],
    feedback: Sequence[StoredFeedback],
) -> Row:
    texts, labels = (list(column) for column in zip(*steps, strict=True))
    own = {"prompt": prompt, "completions": texts, "labels": labels, "person": feedback[0].person.name}
    return own | {"record": held.record(turns, feedback)}


def _about_the_agent(held: Snapshot, given: StoredFeedback) -> bool:
    """Whether feedback is about what the agent has said, and not about what a person has."""
    return all(held.turns[number].role == "agent" for number in given.turns)


def _asked(held: Snapshot, turn: Turn) -> tuple[str, ...]:
    return held.dialogues[turn.dialogue].opening, *(f"{each.role} {each.text}" for each in held.path_to(turn)[:-1])


def _texts(held: Snapshot, turn: Turn) -> list[str]:
    """What stands before a turn, without who said it."""
    before = [held.dialogues[turn.dialogue].opening, *(each.text for each in held.path_to(turn)[:-1])]
    return [text for text in before if text]


def _messages(held: Snapshot, turn: Turn) -> list[dict[str, str]]:
    """What stands before a turn as messages. What opens a dialogue is the user's, or the system's before a user."""
    said = held.path_to(turn)[:-1]
    messages = [{"role": ROLES[each.role], "content": each.text} for each in said]
    opening = held.dialogues[turn.dialogue].opening
    if opening or not messages:
        role = "system" if said and said[0].role == "user" else "user"
        messages.insert(0, {"role": role, "content": opening})
    return messages


def _pieces(text: str, spans: Sequence[StoredFeedback]) -> Iterator[tuple[str, bool]]:
    """The text cut at the borders of spans, and whether each piece is good: bad within a bad span, good elsewhere.

    White space that nobody has marked is no piece.
    """
    marked = [given.value for given in spans]
    borders = sorted({0, len(text), *(span["start"] for span in marked), *(span["end"] for span in marked)})
    for start, end in pairwise(borders):
        about = [span["good"] for span in marked if span["start"] <= start and end <= span["end"]]
        if about or text[start:end].strip():
            yield text[start:end], all(about)


def _rated_turns(held: Snapshot, said: Sequence[Turn]) -> list[dict[int, StoredFeedback]]:
    """For each person their last rating, unless it is 0, of each of the agent's turns among `said`, by turn."""
    turns = {turn.id for turn in said if turn.role == "agent"}
    given = [each for each in held.feedback.values() if each.turns[0] in turns]
    by_person: dict[int, dict[int, StoredFeedback]] = {}
    for each in last_words(given, ("rating", "thumbs")):
        if each.value != 0:
            by_person.setdefault(each.person.id, {})[each.turns[0]] = each
    return list(by_person.values())
