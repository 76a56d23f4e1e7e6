"""Recorded texts as the token ids that an env would have shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from dyngen_agents.data.episodes import Episode, EpisodeTokens
from dyngen_env.lm.modalities.parts import PLACES
from dyngen_env.text.media.tokens import message
from dyngen_env.text.tokenizer import Tokenizer


def encoded(episode: Episode, tokenizer: Tokenizer, model: str) -> EpisodeTokens:
    """The ids of an episode: as they were recorded, if in the vocabulary of `model`, else of its texts.

    A text that is encoded anew has no token that ends it, except where there would be none at all.
    """
    if episode.tokens is not None and episode.tokens.model == model:
        return episode.tokens
    return encoded_anew(episode, tokenizer, model)


def encoded_anew(
    episode: Episode,
    tokenizer: Tokenizer,
    model: str,
    *,
    ended: bool = False,
    stop: Sequence[str] = (),
    rating_tokens: bool = False,
    places: Mapping[str, int] = PLACES,
) -> EpisodeTokens:
    """The ids of an episode's texts, with what was shown before them.

    Args:
        ended: write what ends the agent's turns, so that it can be learned: one of the stop strings, or where there are
            none an end token. A last turn whose `finish_reason` names a limit did not end by itself.
        stop: strings that end a turn. rating_tokens: whether a user's rating stands before their words.
        places: how many tokens a picture or a sound takes, by kind.
    """
    opening = tokenizer.encode_opening if episode.answered else tokenizer.encode_prompt
    ids, turns = [*message(opening, episode.example.prompt, episode.example.media, places)], []
    for i, text in enumerate(episode.completions):
        is_last = i + 1 == len(episode.completions)
        ends = ended and not (is_last and episode.finish_reason in ("length", "context", "steps"))
        if ends and stop and not text.endswith(tuple(stop)):
            text += stop[0]  # a recorded text is cut before it
        said = tokenizer.encode(text)
        if ends and not stop:
            said += _end_of_turn(tokenizer, episode.answered, [*ids, *said][-1])
        said = said or sorted(tokenizer.end_ids)[:1] or tokenizer.encode("\n")
        turns.append((len(ids), len(ids) + len(said)))
        ids += said
        if not is_last:
            answer = episode.feedback[i]
            rating = (answer.rating,) if rating_tokens and answer.rating is not None else ()
            reply = partial(_reply, tokenizer, ids[-1], rating)
            ids += message(reply, answer.text, answer.media, places)
    return EpisodeTokens(model, ids, turns)


def _reply(tokenizer: Tokenizer, last: int, rating: tuple[float, ...], text: str) -> list[int]:
    return tokenizer.encode_reply(text, last, *rating)


def _end_of_turn(tokenizer: Tokenizer, answered: bool, last: int) -> list[int]:
    """The token that ends a turn after the id `last`; none if the tokenizer has none.

    In a dialogue it is what the tokenizer itself closes a turn with, where that is an end token.
    """
    closing = tokenizer.encode_reply("", last)[:1] if answered else []
    return closing if set(closing) & tokenizer.end_ids else sorted(tokenizer.end_ids)[:1]
