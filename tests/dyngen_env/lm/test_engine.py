"""The engine's oracle is the uncached forward: equal logits over whatever rows do."""

import random

import pytest
import torch

from dyngen_env.lm.engine.engine import Engine
from tests.support.tiny_models import VOCABULARY, tiny_model

ARCHITECTURES = ["gpt2", "llama", "qwen2", "gpt-neox", "mistral-sliding", "gemma2"]
ROWS, WIDTH = 6, 48


def uncached(model, tokens, lengths):
    """Logits (B, V) by one unpadded forward a row."""
    with torch.no_grad():
        return torch.stack(
            [model(input_ids=row[:n].unsqueeze(0)).logits[0, -1] for row, n in zip(tokens, lengths, strict=True)]
        )


def random_rows(generator, rows=ROWS):
    lengths = torch.randint(1, 9, (rows,), generator=generator)
    tokens = torch.randint(0, VOCABULARY, (rows, WIDTH), generator=generator)
    return tokens.masked_fill(torch.arange(WIDTH) >= lengths.unsqueeze(1), -1), lengths


def grow(tokens, lengths, generator):
    new = torch.randint(0, VOCABULARY, (len(tokens),), generator=generator)
    return tokens.scatter(1, lengths.unsqueeze(1), new.unsqueeze(1)), lengths + 1, new


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_the_uncached_forward_over_random_lives(architecture):
    model, chance = tiny_model(architecture), random.Random(architecture)
    engine, generator = Engine(model), torch.Generator().manual_seed(1)
    tokens, lengths = random_rows(generator)
    for _ in range(60):
        torch.testing.assert_close(
            engine.next_logits(tokens, lengths), uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4
        )
        tokens, lengths, _ = grow(tokens, lengths, generator)
        for row in range(len(tokens)):
            event = chance.random()
            if event < 0.1 or lengths[row] > WIDTH - 8:  # an episode ends and another begins
                fresh, n = random_rows(generator)
                tokens[row], lengths[row] = fresh[row], n[row]
            elif event < 0.2:  # a user answers
                words = chance.randint(2, 5)
                at = int(lengths[row])
                tokens[row, at : at + words] = torch.randint(0, VOCABULARY, (words,), generator=generator)
                lengths[row] += words
            elif event < 0.25:  # the row shrinks
                lengths[row] = max(1, int(lengths[row]) - 3)
                tokens[row, lengths[row] :] = -1
        if chance.random() < 0.1:  # the batch is re-ordered behind the engine's back
            order = torch.randperm(len(tokens), generator=generator)
            tokens, lengths = tokens[order], lengths[order]
        if chance.random() < 0.05:  # the batch grows or shrinks
            tokens, lengths = random_rows(generator, rows=chance.choice([1, 3, ROWS]))


def test_growing_rows_run_one_token_each():
    model, generator = tiny_model("gpt2"), torch.Generator().manual_seed(2)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.next_logits(tokens, lengths)
    before = engine.tokens_run
    for _ in range(5):
        tokens, lengths, _ = grow(tokens, lengths, generator)
        engine.next_logits(tokens, lengths)
    assert engine.tokens_run - before == 5 * ROWS


@pytest.mark.parametrize("architecture", ["gpt2", "mistral-sliding"])
def test_rows_that_rest_are_not_run_again_where_they_are_most(architecture):
    model, chance = tiny_model(architecture), random.Random(0)
    engine, generator = Engine(model), torch.Generator().manual_seed(8)
    tokens, lengths = random_rows(generator)
    engine.next_hidden(tokens, lengths)
    for step in range(30):
        before, grown = engine.tokens_run, sorted(chance.sample(range(ROWS), step % ROWS))
        longer, n, _ = grow(tokens, lengths, generator)
        for row in grown:
            tokens[row], lengths[row] = longer[row], n[row]
            if lengths[row] > 20:  # another episode begins
                fresh, n = random_rows(generator)
                tokens[row], lengths[row] = fresh[row], n[row]
        logits = engine.next_logits(tokens, lengths)
        torch.testing.assert_close(logits, uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4)
        if len(grown) <= ROWS // 2:
            assert engine.tokens_run - before <= len(grown) * int(lengths.max())
        if not grown:
            assert engine.tokens_run == before


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "mistral-sliding"])
def test_fork_continues_copies_of_rows(architecture):
    model, generator = tiny_model(architecture), torch.Generator().manual_seed(4)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.next_logits(tokens, lengths)
    rows = torch.tensor([5, 5, 0, 2, 2, 2, 1, 0])
    engine.fork(rows)
    before = engine.tokens_run
    tokens, lengths, _ = grow(tokens[rows], lengths[rows], generator)
    torch.testing.assert_close(
        engine.next_logits(tokens, lengths), uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4
    )
    assert engine.tokens_run - before == len(rows)


def test_changed_weights_are_noticed():
    model, generator = tiny_model("llama"), torch.Generator().manual_seed(5)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.next_logits(tokens, lengths)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1.5)
    torch.testing.assert_close(
        engine.next_logits(tokens, lengths), uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4
    )


def test_a_step_of_fused_adam_is_noticed():
    """Fused optimizers bump no version; the forward with gradients before the step gives them away."""
    model, generator = tiny_model("gpt2"), torch.Generator().manual_seed(6)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.next_logits(tokens, lengths)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(input_ids=tokens.clamp(min=0)).logits.sum().backward()
    optimizer.step()
    torch.testing.assert_close(
        engine.next_logits(tokens, lengths), uncached(model, tokens, lengths), atol=1e-4, rtol=1e-4
    )


def test_invalidate_forgets_everything():
    model, generator = tiny_model("gpt2"), torch.Generator().manual_seed(7)
    engine = Engine(model)
    tokens, lengths = random_rows(generator)
    engine.next_logits(tokens, lengths)
    first = engine.tokens_run
    engine.next_logits(tokens, lengths)
    assert engine.tokens_run == first  # nothing had changed
    engine.invalidate()
    engine.next_logits(tokens, lengths)
    assert engine.tokens_run == 2 * first


def test_engines_leave_no_hooks_behind():
    model = tiny_model("gpt2")
    engine = Engine(model)
    assert len(model.base_model._forward_pre_hooks) == 1
    del engine
    assert not model.base_model._forward_pre_hooks


def test_fused_activations_are_the_same_function():
    plain, fused = tiny_model("gpt2"), tiny_model("gpt2")
    Engine(fused)
    assert not any("NewGELU" in type(m).__name__ for m in fused.modules())
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(fused(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-5, rtol=1e-5)
