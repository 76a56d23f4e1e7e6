"""A Hugging Face tokenizer as the environment's `Tokenizer`."""

from __future__ import annotations

import copy
import json
from functools import cached_property, lru_cache
from typing import Any

from dyngen_env.text.chat_template import ROLES, TurnTokens, following, rendered, turn_tokens

END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|eot|>",
    "<|end_of_text|>",
    "<|endoftext|>",
)


class HFTokenizer:
    """A Hugging Face tokenizer as a `Tokenizer`. Use `adapted`, which keeps what is slow to make.

    Turns are written with the tokenizer's chat template if it has one, else with its role tokens `<|user|>`,
    `<|assistant|>`, `<|end|>` if it has those, else one line a turn.
    """

    def __init__(self, hf: Any):
        controls = _control_tokens(hf)
        plain = [t.content for t in hf.added_tokens_decoder.values() if t.content in controls and not t.special]
        if plain:  # a role token that text could spell: only of special tokens can the spelling be split
            from tokenizers import AddedToken

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
        return following(self._plain, text)

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
    def _turns(self) -> TurnTokens:
        return turn_tokens(self.hf, self.name, self.end_ids, self.encode("\n"))


def adapted(hf: Any) -> HFTokenizer:
    """The adapter of a Hugging Face tokenizer: the same one while the tokenizer stays as it is."""
    return _adapted(hf, len(hf), str(hf.chat_template))


@lru_cache(maxsize=8)
def _adapted(hf: Any, size: int, template: str) -> HFTokenizer:
    return HFTokenizer(hf)


def _control_tokens(hf: Any) -> set[str]:
    """The tokens that are no text: special tokens, ends of turns, and what a chat template puts around turns."""
    added = {t.content: t.special for t in hf.added_tokens_decoder.values()}
    controls = {content for content, special in added.items() if special} | set(hf.all_special_tokens)
    controls |= {token for token in (*END_OF_TURN, *ROLES) if token in added}
    if hf.chat_template:
        try:
            frame = rendered(hf, "uuprompt", "aanswer", "uureply")
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
