"""Banned words: which tokens would complete one, as a function of the tokens so far.

These tokens are not legal, so a policy that keeps to the legal ones cannot write the word, whichever way it is cut into
tokens. The reward `safety`, in contrast, only puts a price on such words.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dyngen_env.mdp.automaton import Automaton
from dyngen_env.mdp.rules import legal_tokens
from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.text.tokenizer import Tokenizer

LARGEST = 2**27  # entries of a table over states and tokens; both tables together then take 0.7 GB
_WORD = np.array([chr(byte).isalnum() or byte == ord("_") for byte in range(128)] + [False] * 128)  # (256,)


def read_words(banned: str | Iterable[str]) -> tuple[str, ...]:
    """The banned words that a keyword names: one word, a list of words, or files that end in `.txt` with one a line.

    Blank lines of a file, and lines that begin with `#`, are no words.

    Raises:
        ValueError: something that is no word. FileNotFoundError: no such file.
    """
    words = (banned,) if isinstance(banned, str) else banned
    if not isinstance(words, Iterable) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"banned={banned!r}: expected words, or the path of a .txt file with one a line")
    return tuple(own for word in words for own in (_lines(word) if word.endswith(".txt") else (word,)))


def _lines(path: str) -> list[str]:
    lines = [line.strip() for line in Path(path).expanduser().read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class BannedWords:
    """Says of every token whether it would complete a banned word, given the tokens before it.

    A word is banned where it stands by itself, in upper or lower case: "ass" bans "ass", "Ass!" and "an ass", but not
    "class". It is also banned if it began in the prompt. The rule is strict where it cannot look ahead: at the end of a
    token a banned word counts as ended. So of the longer words that begin with it, such as "assassin", only those can
    be written for which some token reaches across its end. Letters beyond ASCII count as borders of words. What only
    looks like the word ("a s s", "a55") is not banned.

    It works by an automaton whose state after some tokens tells all that matters of them (`mdp.automaton`).

    Args:
        words: one or more words or phrases; those of scripts without spaces are banned wherever they occur.
        tokenizer: of V tokens.
        device: where the tables lie, and the tokens that are asked about.

    Raises:
        ValueError: too many words for tables over all tokens, or there is a text after which they leave no legal token.
    """

    def __init__(self, words: Sequence[str], tokenizer: Tokenizer, device: torch.device | str = "cpu"):
        self.words = tuple(words)
        patterns = sorted({form for word in words for form in _spellings(word)})
        automaton = Automaton(patterns, _WORD)
        states, vocabulary = len(automaton), len(tokenizer)
        if states * vocabulary > LARGEST:
            raise ValueError(
                f"banned words with {sum(map(len, patterns))} bytes in all and {vocabulary} tokens make tables of "
                f"{states} x {vocabulary}: at most {LARGEST // vocabulary} states are possible, so ban fewer words"
            )
        # Patterns have ASCII letters in lower case, as have tokens here: `bytes.lower` changes no others.
        following, completing = automaton.over_tokens([piece.lower() for piece in tokenizer.token_bytes])
        if completing[:, legal_tokens(tokenizer)].all(1).any():
            raise ValueError(
                f"banned={self.words!r} leaves no legal token after some texts: ban fewer words, or use a tokenizer "
                "with a token that ends the text"
            )
        # One more column: a place without a token, which is a border as control tokens are.
        following = np.concatenate([following, np.zeros((states, 1), np.int32)], axis=1)
        self._following = torch.from_numpy(following).to(device)  # (S, V + 1) int32
        self._allowed = torch.from_numpy(~completing).to(device)  # (S, V) bool
        self._reach = 1 + max(map(len, patterns))  # tokens that can matter: each has a byte, or is a border

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, T) int64: the automaton's state after each of the tokens (N, T), which are -1 where there is none."""
        state, out = torch.zeros_like(tokens[:, 0]), []
        for column in self._columns(tokens).unbind(1):
            state = self._after(state, column)
            out.append(state)
        return torch.stack(out, dim=1)

    def state(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B,) int64: the automaton's state after the first `lengths` (B,) tokens of rows (B, L)."""
        reach = min(self._reach, tokens.shape[1])
        at = lengths.unsqueeze(1) + torch.arange(-reach, 0, device=tokens.device)  # (B, reach)
        last = torch.where(at >= 0, tokens.gather(1, at.clamp(min=0)), -1)
        state = torch.zeros_like(lengths)
        for column in self._columns(last).unbind(1):
            state = self._after(state, column)
        return state

    def allowed(self, state: torch.Tensor) -> torch.Tensor:
        """(..., V) bool: the tokens that complete no banned word, in each of the automaton's states (...)."""
        return self._allowed[state]

    def completes(self, state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(...) bool: whether each of the tokens (...) completes a banned word, after the automaton's states (...)."""
        return ~self._allowed[state, tokens]

    def fewest_allowed(self, legal: torch.Tensor) -> int:
        """How many of the `legal` tokens (V,) bool complete no banned word, in the state where they are fewest."""
        counts = [(part & legal).sum(1).min() for part in self._allowed.split(1024)]
        return int(torch.stack(counts).min())

    def to(self, device: torch.device | str) -> BannedWords:
        """The same automaton with its tables on a device."""
        twin = copy.copy(self)
        twin._following, twin._allowed = self._following.to(device), self._allowed.to(device)
        return twin

    def refuse(self, before: TokenState, actions: torch.Tensor, spoken: TokenState) -> TokenState:
        """The state after the actions (B,), in which those that complete a banned word are illegal.

        Args:
            before: the state before the actions.
            spoken: the state after them, which does not know of banned words.
        """
        state = self.state(before.tokens, before.length)
        bad = before.live & self.completes(state, actions)
        return replace(spoken, finish=torch.where(bad, ILLEGAL, spoken.finish))

    def _columns(self, tokens: torch.Tensor) -> torch.Tensor:
        vocabulary = self._allowed.shape[1]
        return torch.where(tokens < 0, vocabulary, tokens).clamp(max=vocabulary)  # media are borders, too

    def _after(self, state: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return self._following.take(state * self._following.shape[1] + column).long()


def _spellings(word: str) -> set[bytes]:
    """How a word may be written, in UTF-8 with ASCII letters in lower case. Beyond ASCII: as it is, in lower and upper
    case and with a capital, each with accents composed and decomposed."""
    cases = {word, word.lower(), word.upper(), word.title()}
    forms = {unicodedata.normalize(form, case) for case in cases for form in ("NFC", "NFD")} | cases
    return {form.encode("utf-8", "replace").lower() for form in forms}
