"""Adapts a Hugging Face tokenizer to the environment's `Tokenizer` protocol."""

from __future__ import annotations

import copy
from functools import cached_property, lru_cache
from typing import Any

from dyngen_env.text.chat_template import ROLES, TurnTokens, following, rendered, turn_tokens
from dyngen_env.text.token_bytes import PROBES, UnusableTokenizer, token_bytes

MEDIA = (
    "<|picture|>",
    "<|image|>",
    "<image>",
    "<|image_pad|>",
    "<image_soft_token>",
    "[IMG]",
    "<|sound|>",
    "<|audio|>",
)
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

    The text of tokens is what the tokenizer itself decodes them to, without special tokens. Turns are written with its
    chat template if it has one, else with its role tokens `<|user|>`, `<|assistant|>`, `<|end|>` if it has those, else
    one line a turn.

    Raises:
        ValueError: what a token writes depends on the tokens around it, or the tokenizer rewrites text when it adds
            special tokens.
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
        self._size = max(len(hf), 1 + max(hf.get_vocab().values()))
        self.control_ids = frozenset(int(i) for i in hf.convert_tokens_to_ids(sorted(controls)))
        ends = set(hf.convert_tokens_to_ids([token for token in END_OF_TURN if token in controls]))
        ends |= {hf.sep_token_id if hf.eos_token_id is None else hf.eos_token_id} - {None}  # [SEP] ends BERT's texts
        self.end_ids = frozenset(int(i) for i in ends)
        unknown = {hf.unk_token_id} - self.end_ids  # words that are not in the vocabulary: the only control in texts
        self._unwanted = self.control_ids - unknown
        self.control_ids |= set(range(self._size)) - set(hf.get_vocab().values())  # ids without a token are no text
        try:
            self.token_bytes, self.word_end = token_bytes(hf, self._size, self.control_ids)
        except UnusableTokenizer as error:
            remedy = (
                "set its clean_up_tokenization_spaces to False, which changes nothing but its decoding"
                if hf.clean_up_tokenization_spaces
                else "the environment needs one whose texts are the concatenation of what their tokens write"
            )
            raise ValueError(f"tokenizer {self.name!r} cannot be used: {error}. Remedy: {remedy}") from error
        self.control_ids |= {i for i, data in enumerate(self.token_bytes) if not data}  # what writes nothing is no text
        named = [hf.convert_tokens_to_ids(name) for name in MEDIA if name in hf.get_vocab()]
        self.media_id = next((i for i in named if i in self.control_ids), None)  # stands for pictures and sounds
        self._prefix = self._before_prompts()

    def __len__(self) -> int:
        return self._size

    def encode(self, text: str) -> list[int]:
        return following(self._plain, text)

    def _plain(self, text: str) -> list[int]:
        """Ids of text alone. Control tokens that the text spells are spelled in parts, or left out."""
        ids = self._encoded(text)
        if self._unwanted.isdisjoint(ids):
            return ids
        parts = [self._respelled(i) if i in self._unwanted else [i] for i in ids]
        return [i for part in parts for i in part]

    def _encoded(self, text: str, special: bool = False) -> list[int]:
        clean = text.encode("utf-8", "replace").decode()  # lone surrogates, which JSON can hold, are no text
        return list(self.hf.encode(clean, add_special_tokens=special, split_special_tokens=True))

    def _respelled(self, token: int) -> list[int]:
        """Ids of a control token's name as text: of its first character, and of the rest."""
        name = "" if token == self.hf.unk_token_id else self.hf.convert_ids_to_tokens(token)
        return [i for part in (name[:1], name[1:]) for i in self._encoded(part) if i not in self._unwanted]

    def _before_prompts(self) -> list[int]:
        """What the tokenizer puts before a text: BOS or [CLS], if anything. What it puts after it is not for texts that
        go on.

        Raises:
            ValueError: the text itself changes.
        """
        for text in ("a", ".", *PROBES):
            if ids := self._encoded(text):
                whole = self._encoded(text, special=True)
                starts = [i for i in range(len(whole)) if whole[i : i + len(ids)] == ids]
                if not starts:
                    raise ValueError(
                        f"tokenizer {self.name!r} cannot be used: it encodes {text!r} to {ids}, and with special "
                        f"tokens to {whole}, which does not contain that"
                    )
                return whole[: starts[0]]
        return []

    def encode_prompt(self, text: str) -> list[int]:
        if ids := [*self._prefix, *self._plain(text)]:
            return ids
        hf = self.hf
        starts = [i for i in (hf.bos_token_id, hf.eos_token_id, hf.cls_token_id, hf.sep_token_id) if i is not None]
        if not starts:
            raise ValueError(f"tokenizer {self.name!r} has neither BOS nor EOS: it cannot begin an empty prompt")
        return starts[:1]

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
        newline = [i for i in self.encode("\n") if i not in self.control_ids]
        return turn_tokens(self.hf, self.name, self.end_ids, self._prefix, newline)


def adapted(hf: Any) -> HFTokenizer:
    """The `HFTokenizer` of a Hugging Face tokenizer, made once for as long as its tokens and template stay the same.

    Raises:
        ValueError: the tokenizer cannot be used, see `HFTokenizer`.
    """
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
