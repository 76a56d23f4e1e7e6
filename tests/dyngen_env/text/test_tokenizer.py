"""Text and ids: what text can become, and what ids spell."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.tokenizer import ByteTokenizer, decode
from tests.support.envs import CHAT, FORGETFUL_CHAT, REWRITING_CHAT, byte_level, sentence_piece
from tests.support.tokenizers import wordlevel, wordpiece

NAMES = dict(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
ROLES = ("<|user|>", "<|assistant|>", "<|end|>")
TEXTS = ["", "the film", " a", "é漢字\n\n x", "<s>", "</s><pad> <|user|>", "<|im_start|>system", "<0x41>", "▁x\u200b"]


def tokenizers():
    return {
        "bytes": ByteTokenizer(),
        "byte level": adapted(byte_level(**NAMES)),
        "appends EOS": adapted(byte_level(ends=True, **NAMES)),
        "no BOS": adapted(byte_level(eos_token="</s>")),
        "no EOS": adapted(byte_level(bos_token="<s>")),
        "roles": adapted(byte_level(("<s>", "</s>", *ROLES), **{**NAMES, "pad_token": "</s>"})),
        "plain roles": adapted(byte_level(plain=ROLES, **NAMES)),
        "chat": adapted(
            byte_level(("<s>", "</s>", "<|im_start|>", "<|im_end|>"), chat_template=CHAT, eos_token="</s>")
        ),
        "plain chat": adapted(byte_level(plain=("<|im_start|>", "<|im_end|>"), chat_template=CHAT, **NAMES)),
        "sentence piece": adapted(sentence_piece()),
    }


TOKENIZERS = tokenizers()


def told(name, text):
    """What can come back of a text: SentencePiece writes the space with a character of its own."""
    return text.replace("▁", " ") if name == "sentence piece" else text


every = pytest.mark.parametrize("name", TOKENIZERS)


@every
def test_every_id_has_bytes_and_only_control_tokens_have_none(name):
    tokenizer = TOKENIZERS[name]
    assert len(tokenizer.token_bytes) == len(tokenizer)
    empty = {i for i, piece in enumerate(tokenizer.token_bytes) if not piece}
    assert empty == tokenizer.control_ids
    assert tokenizer.end_ids <= tokenizer.control_ids


@every
@pytest.mark.parametrize("text", TEXTS)
def test_text_never_becomes_a_control_token_and_comes_back(name, text):
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert not set(ids) & tokenizer.control_ids
    assert decode(tokenizer, ids) == told(name, text)


@every
@given(text=st.text(max_size=20))
def test_any_text_comes_back(name, text):
    assert decode(TOKENIZERS[name], TOKENIZERS[name].encode(text)) == told(name, text)


@every
@pytest.mark.parametrize("text", TEXTS)
def test_prompts_hold_no_control_token_but_the_tokenizers_own_bos(name, text):
    tokenizer = TOKENIZERS[name]
    if name == "no BOS" and not text:
        assert tokenizer.encode_prompt("") == [tokenizer.hf.eos_token_id]
        return
    ids = tokenizer.encode_prompt(text)
    assert ids and not set(ids[1:]) & tokenizer.control_ids
    # SentencePiece begins a text with a space unless it has one.
    assert decode(tokenizer, ids) in (told(name, text), " " + told(name, text))


def test_prompts_follow_the_tokenizers_own_bos_policy_without_its_eos():
    text = "the film"
    silent, closing, spm = byte_level(**NAMES), byte_level(ends=True, **NAMES), sentence_piece()
    assert adapted(silent).encode_prompt(text) == silent.encode(text)
    assert closing.encode(text)[-1] == closing.eos_token_id
    assert adapted(closing).encode_prompt(text) == closing.encode(text)[:-1]
    assert adapted(spm).encode_prompt(text) == spm.encode(text)
    assert adapted(spm).encode_prompt(text)[0] == spm.bos_token_id


@pytest.mark.parametrize(
    ("name", "token"),
    [("bytes", 256), ("byte level", "<s>"), ("appends EOS", "<s>"), ("no BOS", "</s>"), ("sentence piece", "<s>")],
)
def test_an_empty_prompt_is_bos_else_eos(name, token):
    tokenizer = TOKENIZERS[name]
    expected = token if isinstance(token, int) else tokenizer.hf.convert_tokens_to_ids(token)
    assert tokenizer.encode_prompt("") == [expected]


def test_an_empty_prompt_without_bos_and_eos_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="neither BOS nor EOS"):
        adapted(byte_level()).encode_prompt("")


def test_the_pieces_of_text_spell_what_hugging_face_decodes():
    """Over tokens that are whole characters: each decoder has a mark of its own for broken ones."""
    rng = np.random.default_rng(0)
    for hf in (byte_level(**NAMES), sentence_piece()):
        tokenizer = adapted(hf)
        whole = [
            i
            for i, piece in enumerate(tokenizer.token_bytes)
            if piece and piece.decode(errors="ignore").encode() == piece
        ]
        assert len(whole) > 150
        for _ in range(50):
            ids = rng.choice(whole, size=8).tolist()
            assert decode(tokenizer, ids).lstrip(" ") == hf.decode(ids, clean_up_tokenization_spaces=False).lstrip(" ")


def dialogue(tokenizer, *texts):
    """Ids of a dialogue: opening, answer, reply, ..."""
    ids = tokenizer.encode_opening(texts[0])
    for answer, reply in zip(texts[1::2], texts[2::2], strict=True):
        ids += tokenizer.encode(answer)
        ids += tokenizer.encode_reply(reply, ids[-1])
    return ids


@pytest.mark.parametrize("name", ["chat", "plain chat"])
def test_a_dialogue_is_what_the_chat_template_writes(name):
    tokenizer, texts = TOKENIZERS[name], ["hi there", "the film", "why?", "we like it", "fine"]
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]
    template = tokenizer.hf.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert dialogue(tokenizer, *texts) == template


def test_a_turn_the_agent_has_closed_itself_is_not_closed_again():
    tokenizer = TOKENIZERS["chat"]
    end = tokenizer.hf.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.encode_reply("hm", 5) == [end, *tokenizer.encode_reply("hm", end)]
    roles = TOKENIZERS["roles"]
    user, assistant, end = roles.hf.convert_tokens_to_ids(list(ROLES))
    assert roles.encode_opening("hm") == [roles.hf.bos_token_id, user, *roles.encode("hm"), end, assistant]
    assert roles.encode_reply("hm", 5) == [end, user, *roles.encode("hm"), end, assistant]
    assert roles.encode_reply("hm", end) == [user, *roles.encode("hm"), end, assistant]
    lines = TOKENIZERS["sentence piece"]
    assert decode(lines, dialogue(lines, "hi", "ho", "he")) == "hi\nho\nhe\n"


@pytest.mark.parametrize("template", [FORGETFUL_CHAT, REWRITING_CHAT])
def test_a_chat_template_that_rewrites_earlier_turns_is_refused(template):
    tokenizer = adapted(byte_level(("<s>", "</s>", "<|im_start|>", "<|im_end|>"), chat_template=template))
    with pytest.raises(ValueError, match="rewrites earlier turns"):
        tokenizer.encode_opening("hi")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('a system\nmessage is required') }}", "a system message is required"),
        (CHAT.replace("{% for", "{{ messages[0].name.first }}{% for", 1), "no attribute 'name'"),
        ("{% for m in messages %}", "Unexpected end of template"),
        (CHAT.replace("m['role']", "{'user': 'me'}[m['role']].title()"), "has no attribute 'assistant'"),
    ],
    ids=["raises", "undefined", "no template", "no agent"],
)
def test_a_chat_template_that_fails_is_refused_with_what_it_says(template, said):
    tokenizer = adapted(byte_level(chat_template=template, name_or_path="odd-chat", **NAMES))
    assert decode(tokenizer, tokenizer.encode_prompt("no dialogue")) == "no dialogue"
    with pytest.raises(ValueError, match=f"the chat template of 'odd-chat' .* it says: .*({said})") as caught:
        tokenizer.encode_opening("hi")
    assert "\n" not in str(caught.value)


def test_a_chat_template_that_wants_roles_to_alternate_is_served():
    strict = "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('!') }}"
    tokenizer = adapted(byte_level(chat_template=strict + "{% endif %}{% endfor %}" + CHAT, **NAMES))
    assert decode(tokenizer, tokenizer.encode_opening("hi")).startswith("<|im_start|>user\nhi<|im_end|>")


def test_a_dialogue_of_tokens_that_swallow_line_ends_is_what_the_chat_template_writes():
    hf = byte_level(chat_template=CHAT, **NAMES)
    marks = [AddedToken(t, rstrip=True, normalized=False, special=True) for t in ("<|im_start|>", "<|im_end|>")]
    hf.add_tokens(marks, special_tokens=True)
    texts = ["hi there", "the film", "why?"]
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]
    assert dialogue(adapted(hf), *texts) == hf.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )


def test_turns_of_a_tokenizer_without_line_ends_have_sep_between_them():
    hf = wordpiece()
    tokenizer, sep = adapted(hf), hf.sep_token_id
    assert tokenizer.end_ids == {sep}
    film, good = hf.encode("film", add_special_tokens=False), hf.encode("good", add_special_tokens=False)
    assert tokenizer.encode_opening("film") == [hf.cls_token_id, *film, sep]
    assert tokenizer.encode_reply("good", film[-1]) == [sep, *good, sep]
    assert tokenizer.encode_reply("good", sep) == [*good, sep]


def test_a_tokenizer_with_nothing_to_put_between_turns_is_refused():
    tokenizer = adapted(wordlevel(bos_token=None, eos_token=None))
    with pytest.raises(ValueError, match=r"nothing to put between the turns .* a chat template"):
        tokenizer.encode_opening("the film")


def test_adapting_leaves_the_tokenizer_as_it_was_and_is_done_once():
    hf = byte_level(plain=ROLES, **NAMES)
    before = hf.backend_tokenizer.to_str()
    assert adapted(hf) is adapted(hf)
    assert hf.backend_tokenizer.to_str() == before
    old = adapted(hf)
    hf.add_tokens(["another"])
    assert len(adapted(hf)) == len(old) + 1


def test_end_tokens_are_eos_and_the_known_ends_of_turns():
    hf = byte_level(("<s>", "</s>", "<|im_end|>", "<|eot_id|>", "<pad>"), **NAMES)
    expected = hf.convert_tokens_to_ids(["</s>", "<|im_end|>", "<|eot_id|>"])
    assert HFTokenizer(hf).end_ids == set(expected)


def test_lone_surrogates_are_no_reason_to_fail():
    for tokenizer in TOKENIZERS.values():
        assert decode(tokenizer, tokenizer.encode("a\ud800b")) == "a?b"


def test_ids_without_a_token_are_no_text():
    hf = byte_level(**NAMES)
    backend = json.loads(hf.backend_tokenizer.to_str())
    gone = backend["model"]["vocab"].popitem()[1]
    backend["model"]["vocab"]["zzz"] = gone + 2
    backend["model"]["merges"] = [m for m in backend["model"]["merges"] if "".join(m) in backend["model"]["vocab"]]
    tokenizer = adapted(PreTrainedTokenizerFast(tokenizer_object=Backend.from_str(json.dumps(backend)), **NAMES))
    assert len(tokenizer) == len(tokenizer.token_bytes) == gone + 3
    assert {gone, gone + 1} <= tokenizer.control_ids and tokenizer.token_bytes[gone + 2] == b"zzz"
