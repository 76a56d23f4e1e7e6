"""Recorded episodes into the queue of a store, so that people rate what a run has written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dyngen_agents.data.episodes import Episode, as_record
from dyngen_agents.feedback.store import FeedbackStore, ModelStamp, Task, Turn


def ask(
    store: FeedbackStore, episodes: Sequence[Episode], kind: str = "rating", raters: int = 1, source: str = ""
) -> list[Task]:
    """Put episodes into a store and ask people about the agent's last turn in each; asked again, it adds nothing.

    Args:
        kind: of feedback. "preference" asks about two answers to the same prompt, such as those of the trained and of
            the untrained model; which of them is shown first is drawn by a hash of the texts.
        raters: how many different people are to answer. source: of the episodes, such as a run's folder.

    Returns:
        the tasks. Texts that stand there twice are one.

    Raises:
        ValueError: a kind that asks about several turns other than "preference"; or no two answers to one prompt.
    """
    if kind == "ranking":
        raise ValueError("episodes can be asked about one by one, or in pairs by the kind preference")
    with store.at_once():
        turns = [_stored(store, episode, source) for episode in episodes]
        asked: list[Turn | Sequence[Turn]] = list(turns)
        if kind == "preference":
            asked = list(_pairs(episodes, turns))
            if not asked:
                raise ValueError(f"none of {len(episodes)} prompts has two different answers: ask for ratings instead")
        tasks = {task.id: task for about in asked for task in [store.enqueue(kind, about, raters, source=source)]}
    return list(tasks.values())


def _stored(store: FeedbackStore, episode: Episode, source: str) -> Turn:
    """The last turn of an episode, with the dialogue that leads to it."""
    key = hashlib.sha256(json.dumps([source, as_record(episode)], default=str).encode()).hexdigest()[:40]
    tokens = episode.tokens
    stamp = ModelStamp((tokens.model if tokens else "") or episode.policy or "unknown", version=episode.policy)
    settings = {"source": source, "finish_reason": episode.finish_reason}
    talk = store.begin_dialogue(None, stamp, settings, episode.example.prompt, key=key)
    turn, chosen = None, 0
    for number, text in enumerate(episode.completions):
        written: dict[str, Any] = {}
        if tokens is not None:
            start, end = tokens.turns[number]
            written = {"tokens": list(tokens.ids[start:end]), "context": list(tokens.ids[:start])}
            if tokens.logprobs is not None:
                written["logprobs"] = list(tokens.logprobs[chosen : chosen + end - start])
            chosen += end - start
        turn = store.add_turn(talk, "agent", text, model=stamp, key=f"{key}-{number}", **written)
        if number + 1 < len(episode.completions) and number < len(episode.feedback):
            store.add_turn(talk, "user", episode.feedback[number].text, key=f"{key}-{number}-answer")
    assert turn is not None
    return turn


def _pairs(episodes: Sequence[Episode], turns: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    """Two and two answers to one prompt that differ; only single turns, for others follow different dialogues."""
    waiting: dict[str, Turn] = {}
    pairs = []
    for episode, turn in zip(episodes, turns, strict=True):
        if len(episode.completions) > 1:
            continue
        other = waiting.get(episode.example.prompt)
        if other is None:
            waiting[episode.example.prompt] = turn
        elif other.text != turn.text:
            del waiting[episode.example.prompt]
            flip = hashlib.sha256(f"{other.text}\0{turn.text}".encode()).digest()[0] % 2
            pairs.append((turn, other) if flip else (other, turn))
    return pairs
