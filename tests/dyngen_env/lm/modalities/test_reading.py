"""Language models that read rows with media: whole rows and cached ones, whatever the architecture."""

import pytest
import torch

from dyngen_env.lm import Engine, completion_logprobs, hidden_states, lm_head, load_model
from dyngen_env.lm.distribution import PLAIN
from dyngen_env.lm.modalities import attach_encoder, detached_encoder, encoder_of, small_encoder
from dyngen_env.lm.modalities.attached import check_encoder
from dyngen_env.lm.modalities.places import places_of
from dyngen_env.lm.modalities.reading import token_embeddings
from dyngen_env.text.media import MediaRoom
from dyngen_env.text.media.medium import find
from dyngen_env.text.media.tokens import span
from dyngen_env.text.padding import pad_rows
from tests.support.media import picture, tone
from tests.support.tiny_models import tiny_model

A, B, C = (span(medium, places) for medium, places in ((picture(0), 4), (picture(1), 4), (tone(0), 16)))
ROWS = [[5, *A, 6, 7], [5, *B, 6, 7, 8], [1, 2, 3], [*C, 9, *A, 10], [5, *A, 6]]
HELD = [picture(0), picture(1), tone(0)]  # media live for as long as somebody holds them


def sees(name: str):
    lm = tiny_model(name)
    attach_encoder(lm, small_encoder(lm, pictures=(32, 32), sounds=0.5))
    encoder_of(lm).part("picture").out.weight.data.mul_(50)  # so that what is shown matters
    return lm


def test_vectors_stand_in_the_places_of_media():
    lm, tokens = sees("gpt2"), pad_rows(ROWS)
    embeddings, words = token_embeddings(lm, tokens), lm.get_input_embeddings().weight
    for row, ids in enumerate(ROWS):
        for column, token in enumerate(ids):
            if token < 97:
                expected = words[token]
            else:
                medium = next(m for m in HELD if token in span(m, 16))
                expected = encoder_of(lm)([medium])[0, token - span(medium, 1)[0]]
            torch.testing.assert_close(embeddings[row, column], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral-sliding", "gemma2", "opt"])
@torch.no_grad()
def test_cached_rows_are_whole_rows(name):
    lm, tokens = sees(name), pad_rows(ROWS, 32)
    engine, lengths = Engine(lm), (pad_rows(ROWS) >= 0).sum(1)
    whole = hidden_states(lm, tokens)
    at = torch.arange(len(ROWS))
    torch.testing.assert_close(engine.next_hidden(tokens, lengths), whole[at, lengths - 1], atol=2e-5, rtol=1e-4)
    tokens[at, lengths] = torch.tensor([3, 4, 5, 6, 7])  # rows grow by a token
    run = engine.tokens_run
    grown = engine.next_hidden(tokens, lengths + 1)
    assert engine.tokens_run - run == len(ROWS)
    torch.testing.assert_close(grown, hidden_states(lm, tokens)[at, lengths], atol=2e-5, rtol=1e-4)
    tokens[0, 1:5] = torch.tensor(B)  # another picture in the same place
    again = engine.next_hidden(tokens, lengths + 1)
    torch.testing.assert_close(again, hidden_states(lm, tokens)[at, lengths], atol=2e-5, rtol=1e-4)
    assert (again[0] - grown[0]).abs().max() > 1e-3


@torch.no_grad()
def test_the_cache_is_dropped_when_the_encoder_has_learned():
    lm, tokens = sees("gpt2"), pad_rows(ROWS)
    engine, lengths = Engine(lm), (tokens >= 0).sum(1)
    before = engine.next_hidden(tokens, lengths)
    encoder_of(lm).part("picture").out.weight.mul_(-1)
    after = engine.next_hidden(tokens, lengths)
    assert (after[0] - before[0]).abs().max() > 1e-3
    torch.testing.assert_close(after[:1], Engine(lm).next_hidden(tokens[:1, :7], lengths[:1]), atol=2e-5, rtol=1e-4)


def test_a_model_without_an_encoder_says_so():
    lm, tokens = tiny_model("gpt2"), pad_rows(ROWS[:1])
    ask = [
        lambda: hidden_states(lm, tokens),
        lambda: Engine(lm).next_hidden(tokens, torch.tensor([7])),
        lambda: completion_logprobs(lm, tokens, tokens == 7, PLAIN),
        lambda: check_encoder(lm, MediaRoom(pictures=1, picture_size=(32, 32)), {"picture": 4}),
    ]
    for asked in ask:
        with pytest.raises(ValueError, match=r"are shown, and the model .* has no encoder for them"):
            asked()
    attach_encoder(lm, small_encoder(lm, pictures=(32, 32)))
    with pytest.raises(ValueError, match="takes 9 tokens in the env, and the model's encoder makes 4"):
        check_encoder(lm, MediaRoom(pictures=1, picture_size=(32, 32)), {"picture": 9})
    with pytest.raises(ValueError, match="reads pictures, and a sound is shown"):
        check_encoder(lm, MediaRoom(sounds=1, seconds=1), {"sound": 16})


def test_an_encoder_belongs_to_its_model():
    lm = tiny_model("gpt2")
    words = len(list(lm.parameters()))
    encoder = small_encoder(lm, pictures=(32, 32))
    attach_encoder(lm, encoder)
    assert len(list(lm.parameters())) == words + len(list(encoder.parameters()))
    with detached_encoder(lm) as taken:
        assert taken is encoder and encoder_of(lm) is None and len(list(lm.parameters())) == words
    assert encoder_of(lm) is encoder
    with pytest.raises(ValueError, match="width 32 of a picture, and the model's word embeddings have 64"):
        attach_encoder(tiny_wide(), encoder)


def tiny_wide():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=64, n_layer=1, n_head=2))


def test_media_that_nobody_holds_any_more_are_told():
    with pytest.raises(ValueError, match="which nobody holds any more"):
        find(12345)


def test_a_multimodal_model_sees_by_its_own_tower(tmp_path):
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    seeing = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, image_size=12, patch_size=6, num_attention_heads=2, num_hidden_layers=2
    )
    words = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, num_key_value_heads=2,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=seeing, text_config=words, image_token_index=96, vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = LlavaForConditionalGeneration(config).eval()
        for p in theirs.parameters():
            torch.nn.init.normal_(p, std=0.2)
    theirs.save_pretrained(tmp_path)
    assert places_of(str(tmp_path)) == {"picture": 4, "sound": 16}  # 2 x 2 patches
    lm, tokens = load_model(str(tmp_path), fresh=True), pad_rows([[5, *A, 6, 7], [1, 2, 3]], 10)
    pixels = encoder_of(lm).part("picture").pixel_values([picture(0)])
    own = theirs(input_ids=torch.tensor([[5, 96, 96, 96, 96, 6, 7]]), pixel_values=pixels)
    hidden = hidden_states(lm, tokens)
    torch.testing.assert_close(lm_head(lm, hidden[0, :7]), own.logits[0], atol=1e-4, rtol=1e-4)
    cached = Engine(lm).next_hidden(tokens, torch.tensor([7, 3]))
    torch.testing.assert_close(cached, hidden[[0, 1], [6, 2]], atol=2e-5, rtol=1e-4)
    hidden.sum().backward()
    assert lm.model.vision_tower.get_input_embeddings().weight.grad.any()
    save_lm_again = tmp_path / "again"
    with detached_encoder(lm):
        lm.save_pretrained(save_lm_again)
    assert torch.equal(hidden_states(load_model(str(save_lm_again)), tokens), hidden)
