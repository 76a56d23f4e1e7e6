"""Rows of data sets into a store: our own exports with every field, TRL's types and OpenAI's comparisons of others.

Which type a row is, its columns tell:

| columns | type | becomes |
|---|---|---|
| record | our own export | all that it came from |
| info, summaries, choice | comparisons as in Stiennon et al. 2020, "Learning to summarize" | a preference by `worker` |
| chosen, rejected | preference; the prompt may be implicit | a preference |
| completion, label | unpaired preference | thumbs |
| completions, labels | stepwise supervision | spans, the steps on lines of one text |
| prompt, completion | prompt-completion | thumbs up |
| prompt, and text or dialogue | an episode (`dyngen_agents.data.episodes`) | a dialogue with its ratings |
| messages | language modeling | a dialogue |

Columns that nothing else is made of are kept in `extra["columns"]` of the feedback, and exported again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dyngen_agents.feedback.exchange.files import Row
from dyngen_agents.feedback.exchange.formats import COLUMNS
from dyngen_agents.feedback.exchange.records import restore
from dyngen_agents.feedback.store import Dialogue, FeedbackStore, ModelStamp, Person, Turn


class Imported(NamedTuple):
    """How much an import has added; what was there before does not count."""

    dialogues: int
    turns: int
    feedback: int


def import_rows(store: FeedbackStore, rows: Sequence[Row], person: str = "imported", source: str = "rows") -> Imported:
    """Put rows of data sets into a store: all of them, or none if there is one that cannot be read.

    The same rows imported again add nothing.

    Args:
        person: who has said it, where the rows do not tell. source: what the rows are called in messages.

    Raises:
        ValueError: a row that is of no type that we know, or makes no sense; the message says which.
    """
    seen: Counter[str] = Counter()
    before = store.size()
    with store.at_once():
        for number, row in enumerate(rows, 1):
            try:
                if "record" in row:
                    restore(store, row["record"])
                    continue
                digest = hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:32]
                seen[digest] += 1  # equal rows are as many opinions
                _Foreign(store, row, person, f"{digest}-{seen[digest]}").add()
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                wrong = f"{error} is missing" if isinstance(error, KeyError) else error
                raise ValueError(f"{source}, row {number}: {wrong}") from error
        after = store.size()
    return Imported(*(now - then for now, then in zip(after, before, strict=True)))


class _Foreign:
    """One row of somebody else's data set, and where it goes.

    Args:
        key: of all that is made of it, with a suffix each.
    """

    def __init__(self, store: FeedbackStore, row: Row, person: str, key: str):
        self.store, self.row, self.key = store, row, key
        self.name = row.get("person") or row.get("worker") or person

    def add(self) -> None:
        """Add it by its type. Raises ValueError, KeyError, TypeError."""
        for columns, method in _TYPES:
            if set(columns) <= set(self.row):
                method(self)
                return
        wanted = "; or ".join(", ".join(columns) for columns, _ in _TYPES)
        raise ValueError(f"its columns are {', '.join(self.row) or 'none'}, expected {wanted}")

    def comparison(self) -> None:
        """Summaries of a post, of which a worker has chosen one."""
        info, summaries, choice = (self.row[name] for name in ("info", "summaries", "choice"))
        if isinstance(choice, bool) or not isinstance(choice, int) or not 0 <= choice < len(summaries):
            raise ValueError(f"choice is {choice!r} of {len(summaries)} summaries, expected its number from 0 on")
        parts = [("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post"), ("ARTICLE: ", "article")]
        opening = "\n".join([label + info[name] for label, name in parts if info.get(name)] + ["TL;DR:"])
        talk = self._dialogue(opening, {"info": info})
        turns: list[Turn] = []
        for number, summary in enumerate(summaries):
            about = {name: value for name, value in summary.items() if name not in ("text", "policy")}
            policy = summary.get("policy")
            turns.append(
                self._turn(
                    talk, "agent", summary["text"], f"summary-{number}", beside=turns[0] if turns else None,
                    model=ModelStamp(policy) if policy else None, sampling=about,
                )
            )  # fmt: skip
        best_first = [turns[choice], *(turn for turn in turns if turn != turns[choice])]
        if len(turns) == 2:
            self._feedback("preference", best_first, None, ("info", "summaries", "choice", "worker"))
        else:
            for number, worse in enumerate(best_first[1:]):
                pair = [turns[choice], worse]
                self._feedback("preference", pair, None, ("info", "summaries", "choice", "worker"), f"-{number}")

    def preference(self) -> None:
        """A better and a worse answer; without a prompt it is what both begin with."""
        prompt, chosen, rejected = self.row.get("prompt"), self.row["chosen"], self.row["rejected"]
        if prompt is None:
            prompt, chosen, rejected = _without_common_beginning(chosen, rejected)
        talk, last = self._asked(prompt)
        better = self._turn(talk, "agent", _answer(chosen, "chosen"), "chosen", after=last)
        worse = self._turn(talk, "agent", _answer(rejected, "rejected"), "rejected", beside=better)
        self._feedback("preference", [better, worse], None, ("prompt", "chosen", "rejected"))

    def unpaired(self) -> None:
        """An answer that was good or not."""
        label = self.row["label"]
        if not isinstance(label, bool):
            raise ValueError(f"label is {label!r}, expected true or false")
        self._completion(1 if label else -1, ("prompt", "completion", "label"))

    def demonstration(self) -> None:
        """An answer worth imitating."""
        self._completion(1, ("prompt", "completion"))

    def steps(self) -> None:
        """An answer in steps, each right or wrong."""
        texts, labels = self.row["completions"], self.row["labels"]
        if len(texts) != len(labels) or not texts or not all(isinstance(label, bool) for label in labels):
            raise ValueError(f"{len(texts)} completions and labels {labels!r}, expected true or false for each step")
        talk, last = self._asked(self.row.get("prompt", ""))
        turn = self._turn(talk, "agent", "\n".join(texts), "steps", after=last)
        start = 0
        for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
            span = {"start": start, "end": start + len(text), "good": label}
            self._feedback("span", [turn], span, ("prompt", "completions", "labels"), f"-{number}")
            start += len(text) + 1

    def episode(self) -> None:
        """A recorded episode, with the ratings in its user's answers or its reward as one."""
        if "dialogue" not in self.row:
            talk, last = self._asked(self.row["prompt"])
            turn = self._turn(talk, "agent", self.row["text"], "text", after=last)
            if self.row.get("reward") is not None:
                self._feedback("rating", [turn], self.row["reward"], ("prompt", "text", "reward"))
            return
        talk, spoken = self._dialogue(self.row["prompt"], {}), None
        for number, each in enumerate(self.row["dialogue"]):
            if each["role"] == "user" and each.get("rating") is not None and spoken is not None:
                self._feedback("rating", [spoken], each["rating"], tuple(self.row), f"-{number}")
            if each["text"] or each["role"] == "agent":
                turn = self._turn(talk, each["role"], each["text"], f"turn-{number}")
                spoken = turn if each["role"] == "agent" else spoken

    def messages(self) -> None:
        """A dialogue without feedback."""
        self._asked(self.row["messages"])

    def _completion(self, thumbs: int, used: Sequence[str]) -> None:
        talk, last = self._asked(self.row.get("prompt", ""))
        turn = self._turn(talk, "agent", _answer(self.row["completion"], "completion"), "completion", after=last)
        self._feedback("thumbs", [turn], thumbs, used)

    def _asked(self, prompt: Any) -> tuple[Dialogue, Turn | None]:
        """The dialogue that a prompt begins, and its last turn, if the prompt is of messages."""
        if isinstance(prompt, str):
            return self._dialogue(prompt, {}), None
        if not isinstance(prompt, list):
            raise ValueError(f"prompt is {str(prompt)[:40]!r}, expected a text or a list of messages")
        said = list(prompt)
        opening = said.pop(0)["content"] if said and said[0]["role"] in ("system", "developer") else ""
        talk, last = self._dialogue(opening, {}), None
        for number, message in enumerate(said):
            if message["role"] not in _ROLES:
                raise ValueError(f"a message's role is {message['role']!r}, expected {' or '.join(_ROLES)}")
            last = self._turn(talk, _ROLES[message["role"]], message["content"], f"message-{number}")
        return talk, last

    def _dialogue(self, opening: str, settings: dict[str, Any]) -> Dialogue:
        return self.store.begin_dialogue(None, settings=settings, opening=opening, key=f"{self.key}-dialogue")

    def _turn(self, talk: Dialogue, role: str, text: str, suffix: str, **more: Any) -> Turn:
        return self.store.add_turn(talk, role, text, key=f"{self.key}-{suffix}", **more)

    def _feedback(self, kind: str, turns: Sequence[Turn], value: Any, used: Sequence[str], suffix: str = "") -> None:
        columns = {name: value for name, value in self.row.items() if name not in (*used, "person")}
        extra = {COLUMNS: columns} if columns else {}
        person: Person = self.store.person(self.name)
        self.store.add_feedback(kind, person, turns, value, key=f"{self.key}{suffix}", extra=extra)


_ROLES = {"user": "user", "assistant": "agent"}
_TYPES: tuple[tuple[tuple[str, ...], Callable[[_Foreign], None]], ...] = (
    (("info", "summaries", "choice"), _Foreign.comparison),
    (("chosen", "rejected"), _Foreign.preference),
    (("completion", "label"), _Foreign.unpaired),
    (("completions", "labels"), _Foreign.steps),
    (("prompt", "completion"), _Foreign.demonstration),
    (("prompt", "dialogue"), _Foreign.episode),
    (("prompt", "text"), _Foreign.episode),
    (("messages",), _Foreign.messages),
)


def _answer(value: Any, what: str) -> str:
    """The text of an answer: itself, or that of its only message."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1 and value[0]["role"] == "assistant":
        return value[0]["content"]
    raise ValueError(f"{what} is {str(value)[:60]!r}, expected a text or a list of one message of the assistant")


def _without_common_beginning(chosen: Any, rejected: Any) -> tuple[Any, Any, Any]:
    """Prompt, chosen and rejected, where both answers begin with the prompt, texts or messages.

    Of texts the prompt ends before a word: as TRL does, a space belongs to the answers.
    """
    if type(chosen) is not type(rejected) or not isinstance(chosen, str | list):
        raise ValueError("chosen and rejected are to be two texts or two lists of messages")
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if isinstance(chosen, str):
        same = chosen.rfind(" ", 0, same) if same and chosen.rfind(" ", 0, same) > 0 else 0
    return chosen[:same], chosen[same:], rejected[same:]
