"""An explicit memory of feedback: what users have said, and how they rated, as notes that the model attends to.

**What it is.** Each answer of a user becomes a note: their words in the frame of a user's turn, as the tokenizer writes
it, and a learned vector for their rating. The language model's own forward over a note gives keys and values in every
layer, and the row attends to them beside its own tokens (`dyngen_env.lm.engine.notes`). So any causal LM of
transformers that can be run beside a cache can have a memory, without a hook or a layer of its own, and reads it before
any training; a row without notes is the plain model.

**When it is written.** After every answer of the user, from `env.dialogues`, so that it does not matter whether the
context holds the words as well (`words_in_context=False` leaves them out) or has forgotten them. A note counts from the
token after which the agent's next turn begins: earlier turns of the same row do not see it. That is all that
`evaluate` has to know to see, in one forward over a dialogue, at each turn what the agent knew in it.

**How it learns.** Gradients flow through the notes' own forward, so the model learns to write a memory as well as to
read it. What is remembered is words, not vectors: notes are encoded by the model as it is, trained further or not.

**Who it is of.** A row's notes are dropped when its next episode begins, unless the same person comes back
(`Dialogue.person`): then the latest are kept, and count from the first token on. `MemoryActor.remember` gives what is
known of a user after a dialogue, `FeedbackMemory.save` and `load` keep it in a file, and `MemoryActor(begin_with=...)`
goes on from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import Action, CausalLMPolicy
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.engine.notes import Notes
from dyngen_env.text.tokenizer import Tokenizer
from dyngen_env.users.user import most_drafts

LOWEST, HIGHEST = -4, 4  # ratings that have a vector of their own; others have the nearest one's
LABELS = HIGHEST - LOWEST + 2  # label 0: the user did not rate


def rating_label(rating: float | None) -> int:
    """The label of a rating, 1 to 9; 0 of none."""
    return 0 if rating is None else 1 + max(LOWEST, min(HIGHEST, round(rating))) - LOWEST


@dataclass(frozen=True, slots=True)
class Note:
    """One answer of a user: its tokens, the label of its rating, and the position from which the row sees it."""

    ids: tuple[int, ...]
    label: int
    begins: int = 0


def write_note(tokenizer: Tokenizer, text: str, rating: float | None, width: int, begins: int = 0) -> Note:
    """The note of an answer, cut off after `width` tokens: the words in the frame of a user's turn."""
    last = min(tokenizer.end_ids, default=-1)  # as if the agent had ended its turn
    ids = tokenizer.encode_reply(text, last)[:width]
    return Note(tuple(ids), rating_label(rating), begins)


@dataclass(frozen=True)
class FeedbackMemory:
    """What is known of one user: their latest answers, as token ids.

    Attributes:
        model: whose vocabulary the ids are in. vocabulary: V, how many tokens it has.
        width: W, of how many tokens a note has room.
        notes: oldest first.
    """

    model: str
    vocabulary: int
    width: int
    notes: tuple[Note, ...] = ()

    def as_notes(self, places: int, device: torch.device | str | None = None) -> Notes:
        """The memory beside one row: notes (1, places, W), of which the last are kept."""
        out = Notes.none(1, places, self.width, device)
        for place, note in enumerate(self.notes[max(0, len(self.notes) - places) :]):
            out.tokens[0, place, : len(note.ids)] = torch.tensor(note.ids, device=device)
            out.labels[0, place], out.begins[0, place] = note.label, note.begins
        return out

    def after_cut(self, tokens: int) -> FeedbackMemory:
        """The same memory beside a row that has lost its first `tokens` tokens."""
        return replace(self, notes=tuple(replace(n, begins=max(0, n.begins - tokens)) for n in self.notes))

    def save(self, path: str | Path) -> None:
        """Write it as JSON. Raises OSError if that fails."""
        Path(path).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> FeedbackMemory:
        """Read it again.

        Raises:
            FileNotFoundError: no such file. ValueError: it holds no memory.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            notes = tuple(Note(tuple(map(int, n["ids"])), int(n["label"])) for n in record["notes"])
            return FeedbackMemory(str(record["model"]), int(record["vocabulary"]), int(record["width"]), notes)
        except FileNotFoundError:
            raise FileNotFoundError(f"no memory in {path}: save one by FeedbackMemory.save") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no memory of a user ({error}): save one by FeedbackMemory.save") from error

    def check(self, tokenizer: Tokenizer, width: int) -> None:
        """Raises ValueError if it cannot be used with this tokenizer, in notes of this width."""
        if self.model != tokenizer.name or self.vocabulary != len(tokenizer):
            raise ValueError(
                f"the memory is in the {self.vocabulary} tokens of {self.model!r}, the env has the {len(tokenizer)} of "
                f"{tokenizer.name!r}: use it with its own model, or begin without a memory"
            )
        if self.width != width:
            raise ValueError(
                f"the memory has notes of {self.width} tokens, the policy of {width}: set note_tokens={self.width}, or "
                "begin without a memory"
            )


@dataclass(slots=True)
class _RowMemory:
    """What is remembered of one row. heard: how many answers of this episode are among the notes."""

    notes: list[Note] = field(default_factory=list)
    person: int | None = None
    heard: int = 0


class MemoryActor(Actor):
    """The behaviour policy of a rollout, with a memory of what users have said in each row.

    Args:
        policy, seed, deterministic, processes: see `Actor`.
        note_tokens: W, of how many tokens a note has room; longer answers are cut off.
        kept_notes: how many of a user's answers are kept when they come back, at most.
        begin_with: what is known of each row's user (B,) before the first episode; None where that is nothing.
        write: whether answers are written down. False leaves each row with what it began with.
    """

    def __init__(
        self,
        policy: CausalLMPolicy,
        seed: int,
        *,
        note_tokens: int,
        kept_notes: int,
        begin_with: Sequence[FeedbackMemory | None] = (),
        write: bool = True,
        deterministic: bool = False,
        processes: Processes = SINGLE_PROCESS,
    ):
        super().__init__(policy, seed, deterministic=deterministic, processes=processes)
        self.width, self.kept, self.begin_with, self.write = note_tokens, kept_notes, begin_with, write
        if policy.label_embedding is None:
            policy.read_labels(LABELS)
        self.forget()

    def forget(self) -> None:
        """All rows begin anew, with `begin_with`."""
        self.notes: Notes | None = None
        self._rows: list[_RowMemory] = []

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Action:
        return self.policy.act(tokens, lengths, self.uniforms(tokens), self.notes)

    def cut(self, rows: Tensor) -> None:
        """See `data.playing.Listener`."""
        if self.notes is not None and len(rows):
            for row in rows.tolist():
                memory = self._rows[row]
                memory.notes = [replace(note, begins=0) for note in memory.notes]
            self._write(rows.tolist())

    def hear(self, env: TextGenVectorEnv, lengths: Tensor, ended: Sequence[Any]) -> None:
        """Write down what users have said since the last call (`data.playing.Listener`)."""
        if self.notes is None:
            self._begin(env)
        known = None
        changed = []
        for row, (memory, talk) in enumerate(zip(self._rows, env.dialogues, strict=True)):
            if talk is None:
                if memory.notes:  # another task has begun, in which nobody answers
                    memory.notes, memory.person, memory.heard = [], None, 0
                    changed.append(row)
                continue
            over = ended[row] if len(ended) else None
            if over is not None or len(talk.feedback) < memory.heard:
                self._begin_episode(memory, over, talk.person, env.tokenizer)
                changed.append(row)
            if self.write and memory.heard < len(talk.feedback):
                known = known or lengths.tolist()  # read on the host only where there is news
                for answer in talk.feedback[memory.heard :]:
                    memory.notes.append(self._note(env.tokenizer, answer.text, answer.rating, known[row] - 1))
                memory.heard = len(talk.feedback)
                changed.append(row)
        if changed:
            self._write(changed)

    def remember(self, dialogue: Any, tokenizer: Tokenizer, before: FeedbackMemory | None = None) -> FeedbackMemory:
        """What is known of a user after a dialogue with them, for `begin_with` or a file.

        Args:
            dialogue: as `Trajectories.dialogues` has it. before: what was known of them.
        """
        known = () if before is None else before.notes
        latest = self._latest((*known, *self._answers(dialogue, tokenizer)))
        return FeedbackMemory(tokenizer.name, len(tokenizer), self.width, latest)

    def _begin(self, env: TextGenVectorEnv) -> None:
        rows = env.num_envs
        if self.begin_with and len(self.begin_with) != rows:
            raise ValueError(f"{len(self.begin_with)} memories for {rows} rows: give one each, or None")
        for memory in self.begin_with:
            if memory is not None:
                memory.check(env.tokenizer, self.width)
        known = self.begin_with or [None] * rows
        self._rows = [
            _RowMemory([*self._latest(memory.notes)] if memory else [], None if talk is None else talk.person)
            for memory, talk in zip(known, env.dialogues, strict=True)
        ]
        places = self.kept + max(1, env.max_turns * most_drafts(env.user) - 1)
        self.notes = Notes.none(rows, places, self.width, self.policy.lm.device)
        self._write(range(rows))

    def _begin_episode(self, memory: _RowMemory, over: Any, person: int | None, tokenizer: Tokenizer) -> None:
        """Drop what is known of somebody else; of the same person keep the latest, their last answer included."""
        if person is None or person != memory.person:
            memory.notes, memory.person = [], person
        elif self.write:
            unheard = self._answers(over or (), tokenizer)[memory.heard :]
            memory.notes = [*self._latest((*memory.notes, *unheard))]
        memory.heard = 0

    def _latest(self, notes: Sequence[Note]) -> tuple[Note, ...]:
        """Of these notes those that are kept. They count from the first token on."""
        return tuple(Note(note.ids, note.label) for note in notes[max(0, len(notes) - self.kept) :])

    def _answers(self, dialogue: Any, tokenizer: Tokenizer) -> list[Note]:
        answers = [turn for turn in dialogue if turn["role"] == "user"][1:]  # the first turn is the prompt
        return [self._note(tokenizer, turn["text"], turn["rating"]) for turn in answers]

    def _note(self, tokenizer: Tokenizer, text: str, rating: float | None, begins: int = 0) -> Note:
        return write_note(tokenizer, text, rating, self.width, begins)

    def _write(self, rows: Sequence[int]) -> None:
        """The notes of these rows as tensors; others stay as they are. The old tensors are not written to."""
        assert self.notes is not None
        _, places, width = self.notes.tokens.shape
        if most := [row for row in rows if len(self._rows[row].notes) > places]:
            raise ValueError(
                f"row {most[0]} has {len(self._rows[most[0]].notes)} notes, and there is room for {places}: a user who "
                "sends turns back says how often by an attribute `drafts`, as `simulated(drafts=2)` does"
            )
        tokens = torch.full((len(rows), places, width), -1)
        labels, begins = (torch.zeros(len(rows), places, dtype=torch.int64) for _ in range(2))
        for i, row in enumerate(rows):
            for place, note in enumerate(self._rows[row].notes):
                tokens[i, place, : len(note.ids)] = torch.tensor(note.ids)
                labels[i, place], begins[i, place] = note.label, note.begins
        where = torch.tensor([*rows], device=self.notes.tokens.device)
        parts = zip((self.notes.tokens, self.notes.labels, self.notes.begins), (tokens, labels, begins), strict=True)
        self.notes = Notes(*(old.index_copy(0, where, new.to(old.device)) for old, new in parts))
