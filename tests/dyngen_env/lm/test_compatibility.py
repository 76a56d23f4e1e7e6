"""Every architecture gives its own logits, row by row, or is refused in one line: transformers is the oracle."""

from __future__ import annotations

import logging

import pytest
import torch

from dyngen_env.lm.engine.compatibility import compatibility, max_tokens
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import head_shape, hidden_states, lm_head
from dyngen_env.lm.loading.models import context_window, load_model
from tests.support.architectures import ARCHITECTURES, VOCABULARY, tiny

WIDTH = 32
REFUSED = {  # by what
    "bert": "not causal",
    "roberta": "not causal",
    "electra": "not causal",
    "xlnet": "not causal",
    "bert, decoder": "its logits are not its output embeddings times its last hidden states",
    "roberta, decoder": "its logits are not its output embeddings times its last hidden states",
    "modernbert-decoder": "its logits are not its output embeddings times its last hidden states",
    "recurrent-gemma": "its logits are not its output embeddings times its last hidden states",
}
SHORT = {"phi3, longrope": 16, "llama, dynamic rope": 16, "reformer": 8}  # no longer rows than so
WHOLE_ROWS = {"openai-gpt", "bloom", "falcon, alibi", "bart", "mbart", "pegasus", "trocr", "mamba", "rwkv", "reformer"}
WHOLE_ROWS_BEYOND = {"gpt-neo": 8, "llama, leftover window": 8}


def rows(width=WIDTH, seed=0):
    """(2, L) tokens without padding."""
    return torch.randint(3, VOCABULARY, (2, width), generator=torch.Generator().manual_seed(seed))


def padded(tokens, lengths):
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= lengths.unsqueeze(1), -1)


def own_logits(model, tokens, lengths):
    """(2, V) after each row, by an unpadded forward of it alone."""
    with torch.no_grad():
        return torch.stack(
            [model(row[None, :n], use_cache=False).logits[0, -1] for row, n in zip(tokens, lengths, strict=True)]
        )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_the_model_s_own_or_it_is_refused(name):
    model, width = tiny(name), SHORT.get(name, WIDTH)
    if name in REFUSED:
        for use in (lambda: Engine(model), lambda: hidden_states(model, rows())):
            with pytest.raises(ValueError, match=REFUSED[name]) as caught:
                use()
            assert type(model).__name__ in str(caught.value)
            assert "\n" not in str(caught.value)
        return
    tokens, lengths = rows(width), torch.tensor([width - 7, 1])
    engine = Engine(model)
    for grown in ((1, 1), (1, 3), (0, 1), (1, 1), (1, 1), (1, 0)):  # each row in its own way
        shown, own = padded(tokens, lengths), own_logits(model, tokens, lengths)
        torch.testing.assert_close(engine.next_logits(shown, lengths), own, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            whole = lm_head(model, hidden_states(model, shown)[[0, 1], lengths - 1])
        torch.testing.assert_close(whole, own, atol=1e-4, rtol=1e-4)
        lengths = lengths + torch.tensor(grown)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in REFUSED])
def test_models_that_can_are_run_beside_a_cache(name):
    found = compatibility(tiny(name))
    assert found.max_tokens == SHORT.get(name, found.max_tokens)
    if name in WHOLE_ROWS:
        assert found.cached_up_to == 0
    elif name in WHOLE_ROWS_BEYOND:
        assert found.cached_up_to == WHOLE_ROWS_BEYOND[name]
    else:
        assert found.cached_up_to >= 10**9


@pytest.mark.parametrize("name", ["bert", "roberta, decoder", "modernbert-decoder", "bart", "bloom"])
def test_differences_show_at_the_spread_at_which_models_are_initialised(name):
    """Matrices of spread 0.02 make attention nearly uniform: wrong logits are off by a thousandth only."""
    model = tiny(name, spread=0.02)
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            compatibility(model)
    else:
        assert compatibility(model).cached_up_to == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "qwen3-moe", "mixtral"])
def test_rounding_is_no_difference(name, dtype):
    for seed in range(3):
        found = compatibility(tiny(name, seed=seed).to(dtype))
        assert found.cached_up_to >= 10**9
        assert (found.window is not None) == (name in {"mistral", "gemma2", "mixtral"})


def test_rows_longer_than_the_positions_hold_are_refused_where_that_begins():
    model, tokens = tiny("phi3, longrope"), rows(17)
    for use in (lambda: Engine(model).next_logits(tokens, torch.tensor([3, 2])), lambda: hidden_states(model, tokens)):
        with pytest.raises(ValueError, match=r"rows of 17 tokens.*max_context_tokens=16"):
            use()
    assert context_window(model.config) == 16
    assert max_tokens(tiny("llama").config) > context_window(tiny("llama").config) == 64


def test_a_forward_that_fails_is_told_in_one_line():
    model = tiny("llama")
    model.model.layers[0].mlp = torch.nn.Linear(31, 32)
    with pytest.raises(ValueError, match=r"LlamaForCausalLM cannot be used: its forward on tokens .* \(.*mat1"):
        compatibility(model)


def test_a_model_is_left_as_it_was_and_tried_once():
    model = tiny("mistral")
    model.train()
    model.model.norm.eval()
    calls = []
    model.model.register_forward_pre_hook(lambda *_: calls.append(1))
    first = compatibility(model)
    assert model.training and model.model.layers.training and not model.model.norm.training
    assert model.config.sliding_window == 8
    tried = len(calls)
    assert tried <= 8
    assert compatibility(model) is first
    assert len(calls) == tried


def test_loading_tries_the_model_and_says_so_where_it_is_slow(tmp_path, caplog):
    tiny("bert").save_pretrained(tmp_path / "bert")
    tiny("bloom").save_pretrained(tmp_path / "bloom")
    for fresh in (False, True):
        with pytest.raises(ValueError, match=r"bert' \(BertLMHeadModel\) cannot be used: it is not causal"):
            load_model(str(tmp_path / "bert"), fresh=fresh)
    with caplog.at_level(logging.WARNING, logger="dyngen_env"):
        load_model(str(tmp_path / "bloom"))
    assert "bloom' (BloomForCausalLM) cannot be run beside our key-value cache" in caplog.text


def test_the_head_of_opt_350m_is_narrower_than_its_layers():
    model = tiny("opt-350m")
    assert head_shape(model) == (VOCABULARY, 16)
    assert hidden_states(model, rows()).shape == (2, WIDTH, 16)
