"""The review texts, their splits and prompts, and the embedded language model made from them."""

import lzma
import math
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dyngen_agents.pretraining import ngrams
from dyngen_agents.pretraining.make_reviews_lm import DEFAULT_OUT, Recipe, batches, encode, perplexity
from dyngen_agents.pretraining.make_reviews_tsv import clean, read_source
from dyngen_agents.pretraining.reviews_tokenizer import CONTROL_TOKENS, train_tokenizer
from dyngen_env.assets import reviews
from dyngen_env.assets.reviews import film_prompts, load_reviews, normalised, split_of


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEFAULT_OUT)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(DEFAULT_OUT, dtype=torch.float32).eval()


class TestReviews:
    def test_every_row_is_whole(self):
        for review in load_reviews():
            assert review.id.startswith(review.kind + ":")
            assert 15 <= len(review.ratings) <= 29
            assert all(-4 <= rating <= 4 for rating in review.ratings)
            assert review.mean == pytest.approx(sum(review.ratings) / len(review.ratings), abs=1e-4)
            assert review.text == " ".join(review.text.split()) != ""

    def test_ids_are_unique(self):
        assert len({r.id for r in load_reviews()}) == len(load_reviews())

    def test_a_known_row(self):
        first = load_reviews(kind="film")[2]
        assert (first.id, first.mean, first.text) == ("film:3", -0.6, "Effective but too tepid biopic")
        assert first.ratings == (-1, 0, -1, 0, -1, -1, -1, -1, 0, -2, 1, 1, -1, -1, -1)

    def test_splits_are_all_and_share_no_text(self):
        sides = [{normalised(r.text) for r in load_reviews(split)} for split in reviews.SPLITS]
        assert sum(map(len, sides)) == len(set().union(*sides)) == len(load_reviews())

    def test_split_sizes_are_80_10_10(self):
        for split, share in zip(reviews.SPLITS, (0.8, 0.1, 0.1), strict=True):
            assert len(load_reviews(split)) / len(load_reviews()) == pytest.approx(share, abs=0.01)

    def test_split_is_the_same_everywhere(self):
        # the first 8 bytes of `printf film:1 | sha256sum` and so on; the last digit in decimal is 0-7, 8 or 9
        digests = {"film:1": 0x84FDC2A215515933, "film:7": 0x6F9F5737BA238566, "film:13": 0xA67C91E524174ECB}
        assert [str(n)[-1] for n in digests.values()] == ["3", "8", "9"]
        assert [split_of(review_id) for review_id in digests] == ["train", "tune", "eval"]

    def test_kind_and_split_combine(self):
        both = load_reviews("eval", "film") + load_reviews("eval", "product")
        assert sorted(r.id for r in both) == sorted(r.id for r in load_reviews("eval"))

    @pytest.mark.parametrize("arguments", [{"split": "test"}, {"kind": "book"}])
    def test_unknown_names_are_refused_with_the_known_ones(self, arguments):
        with pytest.raises(ValueError, match=r"expected one of '(train', 'tune', 'eval|film', 'product)'"):
            load_reviews(**arguments)

    def test_file_is_small(self):
        assert reviews.PATH.stat().st_size < 700_000


class TestPrompts:
    @pytest.mark.parametrize("split", reviews.SPLITS)
    def test_are_the_beginnings_of_the_split_s_film_reviews(self, split):
        texts = [r.text.split() for r in load_reviews(split, "film")]
        beginnings = {" ".join(words[:n]) for words in texts for n in range(4, 9) if len(words) >= n + 4}
        assert set(film_prompts(split)) <= beginnings
        assert len(film_prompts(split)) > 0.75 * len(texts)

    def test_no_prompt_twice_nor_on_two_sides(self):
        everywhere = [normalised(p) for split in reviews.SPLITS for p in film_prompts(split)]
        assert len(everywhere) == len(set(everywhere))

    def test_end_within_a_sentence(self):
        for split in reviews.SPLITS:
            for prompt in film_prompts(split):
                assert prompt[-1].isalnum() or prompt[-1] == "'"
                assert not set(prompt) & set('"()[]')

    def test_lengths_vary(self):
        assert {len(p.split()) for p in film_prompts("eval")} == {4, 5, 6, 7, 8}


class TestClean:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ("Destined to be the new ''Conan'' of it", 'Destined to be the new "Conan" of it'),
            ('it is " clunky " or " difficult " - heed', 'it is "clunky" or "difficult" - heed'),
            ("rip &amp; burn, at&amp; t &amp;#38; more", "rip & burn, at & t & more"),
            ("enjoy !", "enjoy!"),
            ("'A pretentious mess.'", "A pretentious mess."),
            ("''Solaris'' is a bore", '"Solaris" is a bore'),
            ("'Men in Black II recycles it.", "Men in Black II recycles it."),
            (") then this is for you.", "then this is for you."),
            ("It ends ... badly.", "It ends ... badly."),
        ],
    )
    def test_repairs(self, raw, expected):
        assert clean(raw) == expected

    def test_equal_texts_are_kept_once(self, tmp_path):
        header = "id\tmean\tratings\ttext\n"
        (tmp_path / "movie-reviews.tsv").write_text(header + "1\t1.0\t1,1\tGo for it!\n2\t0.0\t0,0\t...\n")
        (tmp_path / "product-reviews.tsv").write_text(header + "9\t2.0\t2,2\tgo for it .\n8\t2.0\t2,2\tNice.\n")
        assert read_source(tmp_path) == [
            ("film", "1", "1.0", "1,1", "Go for it!"),
            ("product", "8", "2.0", "2,2", "Nice."),
        ]


class TestNgrams:
    """Literal numbers: texts 0 5 1 and 0 5 6 1 (0 is BOS, 1 EOS), so u has c = {5: 2, 6: 1, 1: 2}, N = 5, V = 7."""

    model = ngrams.Bigram([[0, 5, 1], [0, 5, 6, 1]], vocab_size=7)

    def test_unigram(self):
        # k = 1: u(5) = 3/12, u(1) = 3/12
        assert self.model.unigram_perplexity([[0, 5, 1]], k=1.0) == pytest.approx(4.0)

    def test_bigram(self):
        # k = 1, m = 1: p(5|0) = (2 + 1*1/4) / (2 + 1); p(1|5) = (1 + 2*1/4) / (2 + 2)
        expected = 1 / math.sqrt((2.25 / 3) * (1.5 / 4))
        assert self.model.perplexity([[0, 5, 1]], k=1.0, m=1.0) == pytest.approx(expected)

    def test_probabilities_sum_to_one(self):
        for context in range(7):
            total = sum(1 / self.model.perplexity([[context, b]], k=0.3, m=3.0) for b in range(7))
            assert total == pytest.approx(1.0)


class TestTokenizer:
    def test_has_the_promised_entries(self, tokenizer):
        assert len(tokenizer) == 4096
        assert tokenizer.convert_tokens_to_ids(list(CONTROL_TOKENS)) == list(range(16))
        assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|bos|>", "<|eos|>", "<|pad|>")
        assert set(tokenizer.all_special_tokens) == set(CONTROL_TOKENS)
        assert tokenizer.model_max_length == 512

    def test_every_byte_comes_back(self, tokenizer):
        # every byte of UTF-8: its one-byte and the second bytes of two-byte characters, and all leading bytes
        text = "".join(map(chr, [*range(0x800), 0x800, 0xFFFD, *range(0x1000, 0xD800, 0x400), 0x1F600, 0x10FFFF]))
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
        letters = set(tokenizer.get_vocab())
        assert len({c for c in letters if len(c) == 1}) == 256

    def test_spacing_comes_back(self, tokenizer):
        text = " a , b 's  é\n\tx ."
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text

    def test_writes_bos_and_no_eos(self, tokenizer):
        ids = tokenizer("A fine film.")["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids[1:] == tokenizer("A fine film.", add_special_tokens=False)["input_ids"]
        assert tokenizer.eos_token_id not in ids

    def test_text_cannot_become_a_control_token(self, tokenizer):
        ids = tokenizer("<|eos|> <|rating:+4|>", add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert min(ids) >= len(CONTROL_TOKENS)

    def test_too_few_texts_are_refused(self):
        with pytest.raises(ValueError, match="not 4096"):
            train_tokenizer(["a small text"], 4096, 512)


class TestLanguageModel:
    def test_is_small(self, model):
        assert sum(p.numel() for p in model.parameters()) <= 4_000_000
        assert sum(f.stat().st_size for f in DEFAULT_OUT.iterdir()) <= 10_000_000

    def test_configuration(self, model, tokenizer):
        config = model.config
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)
        assert config.vocab_size == len(tokenizer)
        assert config.n_positions == 512
        assert config.attn_pdrop == config.embd_pdrop == config.resid_pdrop == 0

    @pytest.mark.parametrize("kind", reviews.KINDS)
    def test_predicts_unseen_texts_better_than_the_bigram(self, model, tokenizer, kind):
        train = encode(tokenizer, [r.text for r in load_reviews("train")])
        tune = encode(tokenizer, [r.text for r in load_reviews("tune", kind)])
        test = encode(tokenizer, [r.text for r in load_reviews("eval", kind)])[:150]
        baselines = ngrams.baseline_perplexities(train, tune, test, len(tokenizer))
        assert perplexity(model, test) < baselines["bigram"] < baselines["unigram"]

    def test_perplexity_is_that_of_one_text_at_a_time(self, model, tokenizer):
        texts = encode(tokenizer, [r.text for r in load_reviews("eval")[:5]])
        losses = [model(torch.tensor([t]), labels=torch.tensor([t])).loss.item() * (len(t) - 1) for t in texts]
        expected = math.exp(sum(losses) / sum(len(t) - 1 for t in texts))
        assert perplexity(model, texts) == pytest.approx(expected, rel=1e-4)

    def test_late_positions_are_trained(self, model, tokenizer):
        """A text is predicted about as well far behind in the window as at its start."""
        texts = encode(tokenizer, [r.text for r in load_reviews("eval", "film")[:60]])
        row = torch.tensor([[token for ids in texts for token in ids][:512]])
        losses = torch.nn.functional.cross_entropy(model(row).logits[0, :-1], row[0, 1:], reduction="none")
        assert losses[384:].mean() < losses[:128].mean() + 1.0

    def test_ends_by_itself(self, model, tokenizer):
        torch.manual_seed(0)
        start = torch.full((24, 1), tokenizer.bos_token_id)
        drawn = model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, max_new_tokens=64)
        assert (drawn == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.8

    def test_card_says_what_must_be_said(self):
        card = (DEFAULT_OUT / "README.md").read_text()
        for needed in ("Hutto", "MIT", "interpolated bigram", "make_reviews_lm", "seed"):
            assert needed in card


def test_batches_hold_every_single_text_once():
    texts = [[0, *([i + 16] * (i % 9 + 1)), 1] for i in range(50)]
    recipe = Recipe(packed=0.0, batch_tokens=64)
    rows = [row for ids, _ in batches(texts, recipe, pad=2, rng=random.Random(0)) for row in ids.tolist()]
    assert sorted([t for t in row if t != 2] for row in rows) == sorted(texts)
    assert all(ids.numel() <= 64 for ids, _ in batches(texts, recipe, pad=2, rng=random.Random(0)))


def test_the_packaged_table_is_what_its_header_says():
    header = lzma.decompress(reviews.PATH.read_bytes()).decode().splitlines()[0]
    assert header.split("\t") == ["kind", "id", "mean", "ratings", "text"]
