"""Text and token ids: the small protocol the environment needs, an adapter for Hugging Face, and plain bytes.

Every id has its bytes (`token_bytes`); the text of a completion is the concatenation of its tokens' bytes. So text
can be cut at a stop string across token borders, and tokens that an agent chose are never encoded again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from tokenizers import AddedToken

END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|eot|>",
    "<|end_of_text|>",
    "<|endoftext|>",
)
ROLES = ("<|user|>", "<|assistant|>", "<|end|>")


class Tokenizer(Protocol):
    """What the environment asks of a tokenizer. V = `len(tokenizer)`."""

    name: str
    end_ids: frozenset[int]  # tokens that end a turn: end of sequence, end of turn
    control_ids: frozenset[int]  # tokens that are no text: BOS, PAD, role tokens, `end_ids`

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """(V,) the text of each token in UTF-8, empty for control tokens."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. Never a control token, whatever the text says."""

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a prompt with the tokenizer's own BOS policy; never empty."""

    def encode_opening(self, text: str) -> list[int]:
        """Ids of a dialogue's first user message, up to and with the header of the agent's turn."""

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        """Ids between two turns of the agent: what closes its turn (whose last token is `last`), a control token for
        the user's rating unless it is None, the user's words, the header of its next turn."""


def spell(tokenizer: Tokenizer, ids: Iterable[int]) -> bytes:
    """The bytes of some ids. Control tokens have none, nor has the -1 of an empty place."""
    return b"".join([tokenizer.token_bytes[i] for i in ids if i >= 0])


def decode(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of some ids: their bytes as UTF-8; broken characters become U+FFFD."""
    return spell(tokenizer, ids).decode("utf-8", "replace")


class ByteTokenizer:
    """Bytes as tokens: ids 0 to 255, then BOS (256), EOS (257), end of turn (258) and user (259)."""

    name = "bytes"
    bos_id, eos_id, end_id, user_id = 256, 257, 258, 259
    end_ids = frozenset({257, 258})
    control_ids = frozenset({256, 257, 258, 259})
    token_bytes = tuple(bytes([i]) for i in range(256)) + (b"",) * 4

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def encode_prompt(self, text: str) -> list[int]:
        return [self.bos_id, *self.encode(text)]

    def encode_opening(self, text: str) -> list[int]:
        return [self.bos_id, self.user_id, *self.encode(text), self.end_id]

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        if rating is not None:
            raise ValueError('tokenizer "bytes" has no tokens for ratings: use rating_tokens=False, or "reviews-lm"')
        closing = [] if last in self.end_ids else [self.end_id]
        return [*closing, self.user_id, *self.encode(text), self.end_id]


class HFTokenizer:
    """A Hugging Face tokenizer as a `Tokenizer`. Use `adapted`, which keeps what is slow to make.

    Turns are written with the tokenizer's chat template if it has one, else with its role tokens `<|user|>`,
    `<|assistant|>`, `<|end|>` if it has those, else one line a turn.
    """

    def __init__(self, hf: Any):
        controls = _control_tokens(hf)
        plain = [t.content for t in hf.added_tokens_decoder.values() if t.content in controls and not t.special]
        if plain:  # a role token that text could spell: only of special tokens can the spelling be split
            hf = copy.deepcopy(hf)
            hf.add_tokens(
                [AddedToken(content, special=True, normalized=False) for content in plain], special_tokens=True
            )
        self.hf = hf
        self.name = hf.name_or_path or type(hf).__name__
        self.control_ids = frozenset(int(i) for i in hf.convert_tokens_to_ids(sorted(controls)))
        holes = set(range(len(self))) - set(hf.get_vocab().values())
        self.control_ids |= holes  # ids without a token are no text either
        ends = set(hf.convert_tokens_to_ids([token for token in END_OF_TURN if token in controls]))
        self.end_ids = frozenset(int(i) for i in ends | ({hf.eos_token_id} - {None}))

    def __len__(self) -> int:
        return self._size

    @cached_property
    def _size(self) -> int:
        return max(len(self.hf), 1 + max(self.hf.get_vocab().values()))

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        return tuple(_token_bytes(self.hf, self._size, self.control_ids))

    def encode(self, text: str) -> list[int]:
        return _following(self._plain, text)

    def _plain(self, text: str, **kwargs: Any) -> list[int]:
        clean = text.encode("utf-8", "replace").decode()  # lone surrogates, which JSON can hold, are no text
        return list(self.hf.encode(clean, split_special_tokens=True, **{"add_special_tokens": False, **kwargs}))

    def encode_prompt(self, text: str) -> list[int]:
        ids = self._plain(text, add_special_tokens=True)
        if ids and ids[-1] == self.hf.eos_token_id and (len(ids) > 1 or not text):
            ids.pop()  # an encoder that closes every text: here the text is to be continued
        if ids:
            return ids
        start = self.hf.bos_token_id if self.hf.bos_token_id is not None else self.hf.eos_token_id
        if start is None:
            raise ValueError(f"tokenizer {self.name!r} has neither BOS nor EOS: it cannot begin an empty prompt")
        return [start]

    def encode_opening(self, text: str) -> list[int]:
        before, after = self._turns.opening
        return [*before, *self.encode(text), *after]

    def encode_reply(self, text: str, last: int, rating: float | None = None) -> list[int]:
        closing = [] if last in self.end_ids else self._turns.closing
        rated = [] if rating is None else [self._ratings[max(-4, min(4, round(rating)))]]
        return [*closing, *self._turns.user_header, *rated, *self.encode(text), *self._turns.agent_header]

    @cached_property
    def _ratings(self) -> dict[int, int]:
        """The control token of each rating.

        Raises:
            ValueError: the vocabulary has none.
        """
        names = {rating: f"<|rating:{rating:+d}|>" if rating else "<|rating:0|>" for rating in range(-4, 5)}
        known = self.hf.get_vocab()
        missing = [name for name in names.values() if name not in known]
        if missing:
            raise ValueError(
                f"tokenizer {self.name!r} has no token {missing[0]!r}: add the special tokens "
                f"{names[-4]} to {names[4]} and train the model to read them, or use rating_tokens=False"
            )
        return {rating: known[name] for rating, name in names.items()}

    @cached_property
    def _turns(self) -> _TurnTokens:
        return _turn_tokens(self)


def adapted(hf: Any) -> HFTokenizer:
    """The adapter of a Hugging Face tokenizer: the same one while the tokenizer stays as it is."""
    return _adapted(hf, len(hf), str(hf.chat_template))


@lru_cache(maxsize=8)
def _adapted(hf: Any, size: int, template: str) -> HFTokenizer:
    return HFTokenizer(hf)


@dataclass(frozen=True)
class _TurnTokens:
    """The ids around turns."""

    opening: tuple[list[int], list[int]]  # before and after the first user message
    closing: list[int]  # what ends the agent's turn if it has not done so itself
    user_header: list[int]
    agent_header: list[int]  # what ends the user's turn and begins the agent's


def _following(encode: Callable[[str], list[int]], text: str) -> list[int]:
    """Ids of text that follows other text: by itself, SentencePiece would let it begin with a space."""
    before, ids = encode("\n"), encode("\n" + text)
    return ids[len(before) :] if ids[: len(before)] == before else encode(text)


def _turn_tokens(tokenizer: HFTokenizer) -> _TurnTokens:
    hf = tokenizer.hf

    def ids(text: str) -> list[int]:  # text of the template: its control tokens are meant
        return list(hf.encode(text, add_special_tokens=False))

    if hf.chat_template:
        before, after, link, agent = _template_texts(hf, tokenizer.name)
        between = _following(ids, link)
        cut = next((i + 1 for i, token in enumerate(between) if token in tokenizer.end_ids), 0)
        opening = (ids(before), _following(ids, after))
        return _TurnTokens(opening, between[:cut], between[cut:], _following(ids, agent))
    bos = [] if hf.bos_token_id is None else [hf.bos_token_id]
    if _has_roles(hf):
        user, assistant, end = hf.convert_tokens_to_ids(ROLES)
        return _TurnTokens(([*bos, user], [end, assistant]), [end], [user], [end, assistant])
    line = tokenizer.encode("\n")
    return _TurnTokens((bos, line), [], line, line)


def _rendered(hf: Any, *contents: str) -> str:
    """A dialogue that begins with the user, up to and with the header of the agent's next turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _template_texts(hf: Any, name: str) -> tuple[str, str, str, str]:
    """What a chat template writes: before and after the first user message, from the agent's turn to the next user
    message, and from there to the agent's next turn.

    Raises:
        ValueError: the template does not merely append (tokens already acted on would change), or drops text.
    """
    said = ("uuprompt", "aanswer", "uureply", "aanother", "uulast")  # words that no template contains
    one, two, three = [_rendered(hf, *said[:n]) for n in (1, 3, 5)]
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


def _control_tokens(hf: Any) -> set[str]:
    """The tokens that are no text: special tokens, ends of turns, and what a chat template puts around turns."""
    added = {t.content: t.special for t in hf.added_tokens_decoder.values()}
    controls = {content for content, special in added.items() if special} | set(hf.all_special_tokens)
    controls |= {token for token in (*END_OF_TURN, *ROLES) if token in added}
    if hf.chat_template:
        try:
            frame = _rendered(hf, "uuprompt", "aanswer", "uureply")
        except Exception:  # a template may raise what it likes: then nobody can talk with it, see `_template_texts`
            return controls
        controls |= {content for content in added if content in frame}
    return controls


def _token_bytes(hf: Any, size: int, control_ids: frozenset[int]) -> list[bytes]:
    """The bytes of every id, read from the vocabulary's own notation (byte-level BPE, or SentencePiece pieces)."""
    byte_level = "ByteLevel" in json.dumps(_decoder(hf))
    unmap = {char: byte for byte, char in _byte_level_alphabet().items()}
    added = {int(i): token.content for i, token in hf.added_tokens_decoder.items()}
    out = []
    for i, piece in enumerate(hf.convert_ids_to_tokens(list(range(size)))):
        if i in control_ids or piece is None:
            out.append(b"")
        elif i in added:
            out.append(added[i].encode())
        elif byte_level:
            out.append(bytes(unmap[c] for c in piece) if all(c in unmap for c in piece) else piece.encode())
        elif len(piece) == 6 and piece.startswith("<0x"):
            out.append(bytes([int(piece[3:5], 16)]))
        else:
            out.append(piece.replace("▁", " ").encode())
    return out


def _decoder(hf: Any) -> Any:
    backend = getattr(hf, "backend_tokenizer", None)
    return json.loads(backend.to_str()).get("decoder") if backend is not None else "ByteLevel"


def _byte_level_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte (Radford et al. 2019, encoder.py): printable bytes stand for
    themselves, the others for the characters from U+0100 on, in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


def stop_automaton(pieces: Sequence[bytes], stop: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The automaton that finds stop strings in a stream of tokens, across token borders (Aho and Corasick, 1975).

    Args:
        pieces: (V,) the bytes of each token.
        stop: what to find.

    Returns:
        next_state (S, V) int64, and hit (S, V) bool: whether a stop string ends inside that token.
        State 0 is the start; S is one more than the number of distinct prefixes of the stop strings.
    """
    goto: list[dict[int, int]] = [{}]
    accepting = [False]
    for text in stop:
        node = 0
        for byte in text:
            if byte not in goto[node]:
                goto.append({})
                accepting.append(False)
                goto[node][byte] = len(goto) - 1
            node = goto[node][byte]
        accepting[node] = True
    table = np.zeros((len(goto), 256), dtype=np.int64)  # (S, 256) over bytes
    table[0, list(goto[0])] = list(goto[0].values())
    queue, fail = list(goto[0].values()), dict.fromkeys(goto[0].values(), 0)
    for node in queue:  # breadth first: a node's failure state is complete before the node
        table[node] = table[fail[node]]
        accepting[node] = accepting[node] or accepting[fail[node]]
        for byte, child in goto[node].items():
            fail[child] = int(table[fail[node], byte])
            table[node, byte] = child
            queue.append(child)

    state = np.repeat(np.arange(len(goto))[:, None], len(pieces), axis=1)  # (S, V)
    hit = np.zeros_like(state, dtype=bool)
    if not stop:
        return state, hit
    accepts = np.array(accepting)
    by_length = np.argsort([-len(p) for p in pieces], kind="stable")
    for column in range(max(map(len, pieces), default=0)):
        here = by_length[: sum(len(p) > column for p in pieces)]  # tokens that have a byte there
        state[:, here] = table[state[:, here], np.array([pieces[i][column] for i in here])]
        hit[:, here] |= accepts[state[:, here]]
    return state, hit
