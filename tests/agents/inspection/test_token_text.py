"""Single tokens as text: nothing invisible, nothing that steers a screen, no half characters."""

import pytest

from dyngen_agents.inspection.token_text import token_text, token_texts, visible
from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.tokenizer import ByteTokenizer
from tests.support.envs import byte_level

BYTES = ByteTokenizer()


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain é 漢 שלום 🙂", "plain é 漢 שלום 🙂"),
        ("a\nb", "a⏎\nb"),
        ("\t", "⇥\t"),
        ("\r\x00\x1b[2J\x7f", "␍␀␛[2J␡"),
        ("\u202eevil\u2066", "⟨U+202E⟩evil⟨U+2066⟩"),
        ("\u200b\u2028\xa0", "⟨U+200B⟩⟨U+2028⟩⟨U+00A0⟩"),
        ("</script>&amp;", "</script>&amp;"),  # the page's business
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    "written, shown",
    [
        (b"hi", ["h", "i"]),
        ("é".encode(), ["⟨C3⟩", "é"]),
        ("a漢".encode(), ["a", "⟨E6⟩", "⟨BC⟩", "漢"]),
        (b"\xc3a", ["⟨C3⟩", "\ufffda"]),  # what began is no character, which shows at the next letter
        (b"\xff", ["\ufffd"]),
        (b"\xe6\xbc", ["⟨E6⟩", "⟨BC⟩"]),  # and nothing came after it
    ],
)
def test_a_character_of_several_tokens_stands_at_the_last(written, shown):
    assert token_texts(BYTES, list(written)) == shown


def test_a_control_token_has_its_name_and_breaks_a_character():
    assert token_texts(BYTES, [0xC3, BYTES.eos_id, 0xA9]) == ["⟨C3⟩", "\ufffd⟨257⟩", "\ufffd"]
    tokenizer = adapted(load_tokenizer("reviews-lm"))
    (end,) = tokenizer.hf.convert_tokens_to_ids(["<|end|>"])
    assert token_text(tokenizer, end) == token_texts(tokenizer, [end])[0] == "<|end|>"


def test_a_token_by_itself_that_is_no_whole_character_shows_its_bytes():
    tokenizer = HFTokenizer(byte_level(eos_token="</s>"))
    ids = tokenizer.encode("ü")
    whole = b"".join(tokenizer.token_bytes[i] for i in ids)
    assert whole == b"\xc3\xbc"
    assert token_text(BYTES, 0xC3) == "⟨C3⟩" and token_text(BYTES, 0x0A) == "⏎\n"
    assert token_texts(tokenizer, tokenizer.encode("a film"))[0] != ""
    assert "".join(token_texts(tokenizer, tokenizer.encode("a sad film"))) == "a sad film"
