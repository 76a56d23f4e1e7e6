"""The last token of each row beside a cache, with a fixed number of positions: the oracle is the uncached forward."""

import logging

import pytest
import torch

from dyngen_env.lm.engine import one_token
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import lm_head
from dyngen_env.lm.engine.one_token import GROUPED, MODEL, OneToken, one_token_attention
from tests.dyngen_env.lm.test_engine import ARCHITECTURES, grow, random_rows, uncached
from tests.support.tiny_models import tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_the_uncached_forward_while_rows_grow(architecture):
    model, generator = tiny_model(architecture), torch.Generator().manual_seed(1)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    step = None
    for _ in range(30):
        forward = engine.fill(tokens, lengths)
        with torch.no_grad():
            step = step or OneToken(forward, tokens, lengths)
            logits = lm_head(model, step(tokens, lengths, step.end(int(lengths.max()))))
        torch.testing.assert_close(logits, uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4)
        engine.filled(tokens, lengths)
        tokens, lengths, _ = grow(tokens, lengths, generator)
    assert step.attention == (MODEL if architecture == "gemma2" else GROUPED)  # its scores are capped


def test_next_hidden_and_fill_may_be_called_by_turns():
    model, generator = tiny_model("llama"), torch.Generator().manual_seed(3)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    for turn in range(12):
        if turn % 3 == 0:
            engine.fill(tokens, lengths)
        if turn % 3 == 1:  # the slots hold these tokens, but nobody has asked for hidden states there
            shorter = (lengths - 1).clamp(min=1)
            logits = engine.next_logits(tokens.masked_fill(torch.arange(48) >= shorter.unsqueeze(1), -1), shorter)
            torch.testing.assert_close(logits, uncached(model, tokens, shorter), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            engine.next_logits(tokens, lengths), uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4
        )
        tokens, lengths, _ = grow(tokens, lengths, generator)


def test_filling_runs_nothing_but_what_is_missing():
    model, generator = tiny_model("gpt2"), torch.Generator().manual_seed(2)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.fill(tokens, lengths)
    before = engine.tokens_run
    engine.fill(tokens, lengths)
    assert engine.tokens_run == before
    tokens[2], lengths[2] = (
        random_rows(generator)[0][3],
        1,
    )  # a row begins anew with one token: nothing to run before it
    tokens[2, 1:] = -1
    engine.fill(tokens, lengths)
    assert engine.tokens_run == before


def test_queries_of_a_group_share_keys():
    """The oracle repeats the keys and adds the mask by hand."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 6, 1, 8, generator=generator)
    key, value = torch.randn(2, 3, 2, 10, 8, generator=generator)
    mask = (torch.arange(10) < torch.tensor([[1], [7], [10]]))[:, None, None]
    ours, _ = one_token_attention(torch.nn.Identity(), query, key, value, mask, scaling=0.3)
    scores = 0.3 * query @ key.repeat_interleave(3, 1).transpose(2, 3)
    theirs = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value.repeat_interleave(3, 1)
    torch.testing.assert_close(ours, theirs.transpose(1, 2))


@pytest.mark.parametrize("how", ["other numbers", "an error"])
def test_attention_that_does_not_suit_a_model_is_not_used(how, monkeypatch, caplog):
    def wrong(module, query, key, value, mask, scaling=None, **_):
        if how == "an error":
            raise TypeError("no such layers")
        return torch.zeros_like(query).transpose(1, 2), None

    monkeypatch.setattr(one_token, "one_token_attention", wrong)
    model, generator = tiny_model("llama"), torch.Generator().manual_seed(1)
    tokens, lengths = random_rows(generator)
    engine = Engine(model)
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        step = OneToken(engine.fill(tokens, lengths), tokens, lengths)
        logits = lm_head(model, step(tokens, lengths, 32))
    assert step.attention == MODEL and "does not suit LlamaForCausalLM" in caplog.text
    torch.testing.assert_close(logits, uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("works", [True, False])
def test_a_step_is_compiled_if_that_works_and_a_warning_says_if_not(works, monkeypatch, caplog):
    def compiled(function, dynamic):
        def run(*arguments, **keywords):
            if not works:
                raise RuntimeError("inductor refuses")
            return function(*arguments, **keywords)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    model, generator = tiny_model("llama"), torch.Generator().manual_seed(1)
    tokens, lengths = random_rows(generator)
    with torch.no_grad():
        step = OneToken(Engine(model).fill(tokens, lengths), tokens, lengths, compile=True)
        logits = lm_head(model, step(tokens, lengths, 32))
    assert (step.compiled, len(caplog.records)) == (works, 0 if works else 1)
    torch.testing.assert_close(logits, uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a Triton kernel needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("heads", "shared", "dim"), [(9, 3, 64), (12, 12, 64), (32, 8, 128), (4, 1, 80)])
def test_the_kernel_gives_what_sdpa_gives(dtype, heads, shared, dim):
    from dyngen_env.lm.engine.attention_kernel import attend

    rows, width = 17, 200
    query = torch.randn(rows, heads, dim, device="cuda", dtype=dtype)
    key, value = torch.randn(2, rows, shared, width, dim, device="cuda", dtype=dtype)
    lengths = torch.randint(1, width + 1, (rows,), device="cuda", dtype=torch.int32)
    mask = (torch.arange(width, device="cuda") < lengths[:, None])[:, None, None]
    theirs = torch.nn.functional.scaled_dot_product_attention(
        query.unsqueeze(2).double(), key.repeat_interleave(heads // shared, 1).double(),
        value.repeat_interleave(heads // shared, 1).double(), attn_mask=mask, scale=0.2,
    )  # fmt: skip
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    torch.testing.assert_close(
        attend(query, key, value, lengths, 0.2).double(), theirs.squeeze(2), atol=tolerance, rtol=0
    )
