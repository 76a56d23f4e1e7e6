"""Tokenizers of all kinds: the text of tokens is what the tokenizer itself decodes them to, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import decoders, pre_tokenizers

from dyngen_env.text.huggingface import HFTokenizer
from dyngen_env.text.tokenizer import decode
from tests.support import tokenizers as kinds
from tests.support.envs import byte_level, sentence_piece, single

LLAMA = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
USABLE = {
    "byte level": lambda _: byte_level(bos_token="<s>", eos_token="</s>"),
    "byte level, added": lambda _: kinds.with_added(byte_level(bos_token="<s>", eos_token="</s>")),
    "byte fallback": lambda _: sentence_piece(),
    "WordPiece": lambda _: kinds.wordpiece(),
    "WordPiece, spaces before punctuation": lambda _: kinds.wordpiece(cleanup=False),
    "WordPiece, cleaned up": lambda _: kinds.wordpiece(kinds.WORDS[:-1], clean_up_tokenization_spaces=True),
    "WordPiece, added": lambda _: kinds.with_added(kinds.wordpiece()),
    "WordLevel": lambda _: kinds.wordlevel(),
    "WordLevel at spaces": lambda _: kinds.wordlevel(pre_tokenizers.WhitespaceSplit()),
    "BPE </w>": lambda _: kinds.bpe_suffix(),
    "Unigram always": lambda _: kinds.unigram("always"),
    "Unigram first": lambda _: kinds.unigram("first"),
    "Unigram never": lambda _: kinds.unigram("never"),
    "Unigram with another mark": lambda _: kinds.unigram(space="_"),
    "Unigram, Llama's decoder": lambda _: kinds.unigram(decoder=LLAMA),
    "Unigram that knows U+FFFD": lambda _: kinds.unigram(more=["a \ufffd b"] * 6, decoder=LLAMA),
    "Unigram, added": lambda _: kinds.with_added(kinds.unigram()),
    "slow BERT": lambda folder: kinds.slow_bert(folder, clean_up_tokenization_spaces=False),
    "slow CTRL": lambda folder: kinds.slow_ctrl(folder),
}
TEXTS = ["the film was good", "the film, it's bad!", "我爱电影", "</s><s> [SEP][CLS] </s>", "a  b\nc"]


@pytest.fixture(params=USABLE, scope="module")
def tokenizer(request, tmp_path_factory):
    return HFTokenizer(USABLE[request.param](tmp_path_factory.mktemp("vocabulary")))


def goes_on(text: str) -> str:
    """A text of `hf.decode` as part of a longer one: "##ing" is no beginning, "th@@" no end."""
    return text.removeprefix("##").removesuffix("@@").lstrip(" ")


def test_random_tokens_spell_what_hugging_face_decodes(tokenizer):
    rng = np.random.default_rng(0)
    legal = [i for i in range(len(tokenizer)) if i not in tokenizer.control_ids]
    for length in (1, 2, 3, 8) * 25:
        ids = rng.choice(legal, size=length).tolist()
        theirs = tokenizer.hf.decode(ids, skip_special_tokens=True)
        if "\ufffd" not in theirs:  # each decoder has a mark of its own for broken characters
            assert decode(tokenizer, ids).lstrip(" ") == goes_on(theirs)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_as_hugging_face_decodes_them(tokenizer, text):
    ids = tokenizer.encode(text)
    ours = decode(tokenizer, ids).lstrip(" ")
    assert ours == goes_on(tokenizer.hf.decode(ids, skip_special_tokens=True))
    assert ours == text or text != TEXTS[0]  # which all of them know


@pytest.mark.parametrize("text", TEXTS)
def test_texts_never_become_control_tokens(tokenizer, text):
    hf = tokenizer.hf
    prompt = tokenizer.encode_prompt(text)
    prefix = [i for i in (hf.bos_token_id, hf.cls_token_id) if i is not None and i == prompt[0]]
    for ids in (tokenizer.encode(text), prompt[len(prefix) :]):
        assert set(ids) & tokenizer.control_ids <= {hf.unk_token_id}


def test_a_prompt_keeps_what_stands_before_a_text_and_nothing_that_follows_it():
    for hf in (kinds.wordpiece(), byte_level(ends=True, bos_token="<s>", eos_token="</s>")):
        alone, whole = hf.encode("the film", add_special_tokens=False), hf.encode("the film")
        assert whole[0] != alone[0] and whole[-1] != alone[-1]
        assert HFTokenizer(hf).encode_prompt("the film") == [whole[0], *alone]
        assert HFTokenizer(hf).encode_prompt("") == [whole[0]]


def test_slow_tokenizers_drop_what_follows_a_prompt(tmp_path):
    hf = kinds.slow_bert(tmp_path, clean_up_tokenization_spaces=False)
    assert hf.convert_ids_to_tokens(HFTokenizer(hf).encode_prompt("the film")) == ["[CLS]", "the", "film"]


def test_within_a_text_a_word_has_its_space_and_a_word_piece_has_none():
    tokenizer = HFTokenizer(kinds.wordpiece())
    pieces = dict(zip(kinds.WORDS, tokenizer.token_bytes, strict=True))
    words = ("film", "##ing", "!", "'")
    assert [pieces[word] for word in words] == [b" film", b"ing", b"!", b" '"]
    assert pieces["[SEP]"] == pieces["[UNK]"] == b""


def test_a_word_that_ends_a_text_brings_no_space():
    hf = kinds.bpe_suffix()
    tokenizer = HFTokenizer(hf)
    assert tokenizer.token_bytes[hf.convert_tokens_to_ids("film</w>")] == b"film "
    assert decode(tokenizer, hf.encode("the film was")) == "the film was"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (kinds.ctc, "depends on those around it"),
        (kinds.collapsing, "depends on those around it"),
        (lambda: kinds.wordpiece(clean_up_tokenization_spaces=True), "set its clean_up_tokenization_spaces to False"),
    ],
    ids=["CTC", "collapsing spaces", "clean-up around apostrophes"],
)
def test_a_tokenizer_whose_tokens_change_each_other_is_refused(make, message):
    with pytest.raises(ValueError, match=f"cannot be used: .*{message}") as caught:
        HFTokenizer(make())
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_cannot_decode_is_refused():
    hf = kinds.wordlevel()
    hf._decode = lambda *_, **__: 1 / 0
    with pytest.raises(ValueError, match=r"cannot decode its own tokens \(ZeroDivisionError: division by zero"):
        HFTokenizer(hf)


def test_a_tokenizer_whose_decoder_panics_is_refused():
    """A token of a single space is cut on both sides, by more than it has: Rust panics, which is no `Exception`."""
    with pytest.raises(ValueError, match=r"cannot decode its own tokens \(RuntimeError: panic in Rust: slice index"):
        HFTokenizer(kinds.unigram(decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 1)])))


@pytest.mark.parametrize("error", [ZeroDivisionError, type("PanicException", (BaseException,), {})])
def test_a_tokenizer_that_cannot_encode_is_refused(error):
    hf = kinds.wordlevel()
    hf._encode_plus = failing(error("sad"))
    with pytest.raises(ValueError, match=r"cannot be used: it cannot encode 'the film was good' \(.*sad\)"):
        HFTokenizer(hf)


def test_an_interrupt_while_a_tokenizer_is_tried_is_one():
    hf = kinds.wordlevel()
    hf._decode = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        HFTokenizer(hf)


def failing(error: BaseException):
    def call(*_, **__):
        raise error

    return call


def test_an_environment_ends_pays_and_bans_by_the_words():
    """Stop strings, banned words, the reward and `text` see "was playing bad", not "wasplay##ingbad"."""
    hf = kinds.wordpiece()
    rules = dict(stop="ing b", banned=["good"], reward="keywords('playing')", max_new_tokens=9)
    env = single(tokenizer=hf, prompts=["the film"], **rules)
    tokens, _ = env.reset(seed=0)
    assert hf.convert_ids_to_tokens(tokens[tokens >= 0].tolist()) == ["[CLS]", "the", "film"]
    assert not env.action_masks()[kinds.WORDS.index("good")] and env.action_masks()[kinds.WORDS.index("bad")]
    for word in ("was", "play", "##ing", "bad"):
        _, reward, terminated, _, info = env.step(kinds.WORDS.index(word))
    assert terminated and info["finish_reason"] == "stop" and info["text"] == " was play"
    env.reset(seed=0)
    for word in ("was", "play", "##ing", "[SEP]"):
        _, reward, terminated, _, info = env.step(kinds.WORDS.index(word))
    assert terminated and info["text"] == " was playing" and reward == 1.0
