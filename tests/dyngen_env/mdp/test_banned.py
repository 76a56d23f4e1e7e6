"""Banned words: against a search in the text by brute force, and in episodes that know only legal tokens."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.mdp.banned import BannedWords, read_words
from dyngen_env.text.huggingface import adapted
from dyngen_env.text.tokenizer import ByteTokenizer
from dyngen_env.wrappers import TopKActions
from tests.support.envs import EOS, batch, single, write


class Pieces:
    """A tokenizer of given pieces; the last token ends a text."""

    def __init__(self, *pieces):
        self.token_bytes = (*pieces, b"")
        self.end_ids = self.control_ids = frozenset({len(pieces)})

    def __len__(self):
        return len(self.token_bytes)


PIECES = Pieces(b"a", b"b", b" ", b"ab", b"aB", b"a ", b" b", b"ba a", b"_", b"bab", b"\xc3\xa9", b"b.a")


def is_word(byte):
    return bytes([byte]).isalnum() or byte == ord("_")  # bytes.isalnum is about ASCII


def completes(text, start, words):
    """Whether a banned word ends in text[start:], by trying every word at every place."""
    for end in range(start + 1, len(text) + 1):
        for word in words:
            begin = end - len(word)
            if begin < 0 or text[begin:end].lower() != word:
                continue
            open_left = begin == 0 or not is_word(text[begin - 1]) or not is_word(word[0])
            open_right = end == len(text) or not is_word(text[end]) or not is_word(word[-1])
            if open_left and open_right:
                return True
    return False


@given(
    words=st.lists(st.text("ab .é", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=4),
    tokens=st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=8),
)
def test_exactly_the_tokens_that_complete_a_word_are_not_allowed(words, tokens):
    banned = BannedWords(words, PIECES)
    spelt = {word.lower().encode() for word in words} | {word.upper().encode().lower() for word in words}
    row = torch.tensor([tokens])
    assert int(banned.states(row)[0, -1]) == int(banned.state(row, torch.tensor([len(tokens)])))
    context = b""
    for token in tokens:
        context = context + PIECES.token_bytes[token] if PIECES.token_bytes[token] else b""
    expected = [not completes(context + piece, len(context), spelt) for piece in PIECES.token_bytes]
    assert banned.allowed(banned.states(row)[0, -1]).tolist() == expected


@pytest.mark.parametrize(
    ("before", "token", "allowed"),
    [
        ("", "ass", False),
        ("an ", "Ass", False),
        ("an as", "s", False),
        ("an a", "SS", False),
        ("an", " ass", False),
        ("an", " ass!", False),
        ("an", " assassin", True),
        ("an", " class", True),
        ("cl", "ass", True),
        ("the ", "End", False),
        ("the  ", "end", True),
        ("", "ending", True),
        ("", "the ending", True),
        ("x", "漢字", False),
        ("漢", "字", False),
        ("", "ÉTÉ", False),
        ("", "été", False),
        ("", "e\u0301te\u0301", False),
    ],
)
def test_words_phrases_and_scripts(before, token, allowed):
    pieces = Pieces(*[bytes([i]) for i in range(256)], token.encode())
    banned = BannedWords(["ass", "the end", "漢字", "été"], pieces)
    row = torch.tensor([list(before.encode())], dtype=torch.int64)
    state = banned.state(row, torch.tensor([row.shape[1]])) if before else torch.tensor([0])
    assert bool(banned.allowed(state)[0, 256]) == allowed


def test_a_token_that_ends_the_word_ends_the_episode_and_is_left_out():
    env = single(banned="Bad", prompts=["A"], reward=len, max_new_tokens=10)
    env.reset(seed=0)
    write(env, "a b")
    masks = [env.action_masks()]
    env.step(ord("A"))
    masks.append(env.action_masks())
    changed = np.flatnonzero(masks[0] != masks[1])
    assert changed.tolist() == [ord("D"), ord("d")] and not masks[1][changed].any()
    _, reward, terminated, _, info = env.fork().step(ord("d"))
    assert terminated and info["finish_reason"] == "illegal" and info["text"] == "a bA"
    assert reward == 4 - 1 and info["reward_terms"] == {"len": 4.0, "illegal": -1.0}
    assert not env.step(ord("t"))[2]  # "a bAt"


def test_a_word_that_began_in_the_prompt():
    env = single(banned=["bad"], prompts=["A", "so ba", "so_ba"])
    for prompt, allowed in (("A", True), ("so ba", False), ("so_ba", True)):
        env.reset(options={"prompt": prompt})
        assert bool(env.action_masks()[ord("d")]) == allowed


def test_masks_are_by_row_and_without_banned_words_as_before():
    env = batch(2, banned=["bad"], prompts=["A"])
    env.reset(options={"prompt": ["ba", "A"]})
    masks = env.action_masks()
    assert masks.shape == (2, 260) and not masks[0, ord("d")] and masks[1, ord("d")]
    assert env.legal_tokens().shape == (260,) and batch(2).action_masks().shape == (260,)
    env.step([EOS, ord("a")])
    assert env.step([ord("d"), ord("d")])[2].tolist() == [False, False]  # the first row's reset: nothing is said


def test_whoever_keeps_to_the_masks_never_writes_it():
    """However a BPE vocabulary cuts the words; ends are legal always."""
    words = ("the", "a", "film", "of", "and", "good", "movie", "s", "t", "e", "not")
    settings = dict(tokenizer=None, model="reviews-lm", prompts=["Well,"], autoreset_mode="same_step")
    env = batch(8, **settings, banned=words, max_new_tokens=12)
    env.reset(seed=0)
    rng, seen = np.random.default_rng(0), []
    short = np.array([len(piece) <= 3 for piece in env.tokenizer.token_bytes])  # likelier to make words
    for _ in range(60):
        masks = env.action_masks()
        assert masks[:, sorted(env.tokenizer.end_ids)].all()
        actions = [rng.choice(np.flatnonzero(mask & short)) for mask in masks]
        infos = env.step(np.array(actions))[-1]
        if "final_info" in infos:
            texts = infos["final_info"]["text"]
            seen += [text for text in texts if text is not None]
            assert "illegal" not in infos["final_info"]["reward_terms"]
    found = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(words)})(?![A-Za-z0-9_])", re.IGNORECASE)
    assert len(seen) > 30 and not [text for text in seen if found.search(text)]


def test_candidates_are_never_banned():
    env = single(tokenizer=None, model="reviews-lm", prompts=["the acting is"], max_context_tokens=48)
    first = TopKActions(env, "reviews-lm", k=4).reset(seed=0)[1]["candidates"]
    word = env.tokenizer.token_bytes[first[0]].decode().strip()
    env = single(tokenizer=None, model="reviews-lm", prompts=["the acting is"], max_context_tokens=48, banned=word)
    assert first[0] not in TopKActions(env, "reviews-lm", k=4).reset(seed=0)[1]["candidates"]


def test_words_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("# not these\nbad\n\n  the end \n")
    assert read_words(str(tmp_path / "words.txt")) == ("bad", "the end")
    assert read_words(["x", str(tmp_path / "words.txt")]) == ("x", "bad", "the end")
    assert read_words("x") == ("x",) and read_words(()) == ()
    with pytest.raises(FileNotFoundError):
        single(banned="nowhere.txt")


@pytest.mark.parametrize("banned", [3, [""], [" "], [b"x"]])
def test_what_is_no_word(banned):
    with pytest.raises(ValueError, match="expected words, or the path"):
        single(banned=banned)


def test_too_many_words_are_refused():
    tokenizer = adapted(load_tokenizer("reviews-lm"))
    with pytest.raises(ValueError, match="ban fewer words"):
        BannedWords([f"{i:030b}"[::-1] for i in range(6000)], tokenizer)
    assert len(BannedWords(["a b c"], ByteTokenizer()).words) == 1


def test_bans_that_leave_no_token_are_refused():
    class Endless(ByteTokenizer):
        """Only letters may be written, and no token ends a text."""

        end_ids = frozenset()
        control_ids = frozenset(range(260)) - frozenset(b"abc")

    BannedWords(["a", "b"], Endless())
    with pytest.raises(ValueError, match=r"banned=\('a', 'b', 'c'\) leaves no legal token after some texts"):
        BannedWords(["a", "b", "c"], Endless())
