"""The tokens that stand around the turns of a dialogue, from a tokenizer's chat template or, without one, its tokens.

A model was trained to see turns in a certain frame, such as `<|im_start|>user ... <|im_end|>`. The frame is found once,
by rendering a dialogue of made-up words. After that a dialogue only ever grows at its end: tokens that the agent has
chosen stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("<|user|>", "<|assistant|>", "<|end|>")


@dataclass(frozen=True)
class TurnTokens:
    """The token ids that stand around the turns of a dialogue."""

    opening: tuple[list[int], list[int]]
    """Before and after the user's first message."""
    closing: list[int]
    """What ends the agent's turn if the agent has not ended it itself."""
    user_header: list[int]
    """What begins the user's turn, after the first."""
    agent_header: list[int]
    """What ends the user's turn and begins the agent's."""


def following(encode: Callable[[str], list[int]], text: str) -> list[int]:
    """Ids of text that follows other text.

    SentencePiece puts a space before every text that it encodes alone, so the text is encoded after a line end, whose
    tokens are then cut off.
    """
    before, ids = encode("\n"), encode("\n" + text)
    return ids[len(before) :] if ids[: len(before)] == before else encode(text)


def turn_tokens(
    hf: Any, name: str, end_ids: Collection[int], start: Sequence[int], newline: Sequence[int]
) -> TurnTokens:
    """The tokens around turns of the Hugging Face tokenizer `hf`, called `name` in errors.

    Args:
        end_ids: the tokens that end a turn.
        start: the tokens that begin a text, if there is no chat template.
        newline: the tokens of a line end, which stand around turns where there is nothing better. Tokenizers without
            one, such as BERT's, put [SEP] or EOS there.

    Raises:
        ValueError: the chat template fails, does not merely append, or drops text; or there is nothing that could
            stand between turns.
    """

    def ids(text: str) -> list[int]:  # text of the template: its control tokens are meant
        return list(hf.encode(text, add_special_tokens=False))

    if hf.chat_template:
        before, after, link, agent = _template_texts(hf, name)
        between = following(ids, link)
        cut = next((i + 1 for i, token in enumerate(between) if token in end_ids), 0)
        opening = (ids(before), following(ids, after))
        return TurnTokens(opening, between[:cut], between[cut:], following(ids, agent))
    bos = list(start) if hf.bos_token_id is None else [hf.bos_token_id]
    if _has_roles(hf):
        user, assistant, end = hf.convert_tokens_to_ids(ROLES)
        return TurnTokens(([*bos, user], [end, assistant]), [end], [user], [end, assistant])
    if newline:
        return TurnTokens((bos, list(newline)), [], list(newline), list(newline))
    between = [i for i in (hf.sep_token_id, hf.eos_token_id) if i is not None][:1]
    if not between:
        raise ValueError(
            f"tokenizer {name!r} has nothing to put between the turns of a dialogue: give it a chat template, the role "
            f"tokens {', '.join(ROLES)}, or an EOS token"
        )
    return TurnTokens((bos, between), between, [], between)


def rendered(hf: Any, *contents: str) -> str:
    """The chat template's text of a dialogue: contents of the user's and the agent's turns in alternation, from the
    user's first on, and the header of the agent's next turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _template_texts(hf: Any, name: str) -> tuple[str, str, str, str]:
    """What a chat template writes: before and after the first user message, from the agent's turn to the next user
    message, and from there to the agent's next turn.

    Raises:
        ValueError: the template raises an error, does not merely append (tokens already acted on would change), or
            drops text.
    """
    said = ("uuprompt", "aanswer", "uureply", "aanother", "uulast")  # words that no template contains
    try:
        one, two, three = [rendered(hf, *said[:n]) for n in (1, 3, 5)]
    except ImportError:  # of the package that renders templates: the message says what to install
        raise
    except Exception as error:  # a template may raise what it likes
        message = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"the chat template of {name!r} cannot write a dialogue that begins with the user and goes on in turns, it "
            f"says: {message}. Use a template that can, or none"
        ) from error
    before, _, after = one.partition(said[0])
    link, _, agent = two.removeprefix(one + said[1]).partition(said[2])
    grows = two == one + said[1] + link + said[2] + agent and three == two + said[3] + link + said[4] + agent
    if not grows or one != before + said[0] + after:
        raise ValueError(
            f"the chat template of {name!r} rewrites earlier turns when a dialogue grows, so tokens the agent has "
            "already chosen would change: use a template that only appends"
        )
    return before, after, link, agent


def _has_roles(hf: Any) -> bool:
    return all(token in hf.get_vocab() for token in ROLES)
