"""Rows that attend to notes: as transformers' own cache has it, the same beside ours, plain where there is none."""

import pytest
import torch
from transformers import DynamicCache

from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.engine.notes import Notes
from tests.support.architectures import tiny
from tests.support.tiny_models import VOCABULARY, tiny_model

ROWS, WIDTH, PLACES, ROOM = 4, 24, 2, 5
LENGTHS = torch.tensor([24, 17, 20, 9])


@pytest.fixture
def tokens():
    drawn = torch.randint(0, VOCABULARY, (ROWS, WIDTH), generator=torch.Generator().manual_seed(0))
    return drawn.masked_fill(torch.arange(WIDTH) >= LENGTHS.unsqueeze(1), -1)


@pytest.fixture
def notes():
    """Two notes in row 0, one each in rows 1 and 2, none in row 3."""
    words = torch.randint(0, VOCABULARY, (ROWS, PLACES, ROOM), generator=torch.Generator().manual_seed(1))
    words[0, 0, 3:] = words[1:, 1] = words[2, 0, 2:] = words[3] = -1
    return Notes(words, torch.zeros(ROWS, PLACES, dtype=torch.int64), torch.tensor([[0, 6], [9, 0], [1, 0], [0, 0]]))


def seen_by(notes, length):
    """What rows of this many tokens have been told: notes that count by then."""
    known = notes.present & (notes.begins < length)
    return Notes(notes.tokens.masked_fill(~known.unsqueeze(-1), -1), notes.labels, notes.begins.masked_fill(~known, 0))


@torch.no_grad()
def by_transformers(model, row, notes):
    """Last hidden states (T, D) of one row: its notes' keys and values are put into transformers' own cache."""
    cache, hidden, at = DynamicCache(), [], 0
    known = [(int(begin), ids[ids >= 0]) for ids, begin in zip(notes.tokens, notes.begins, strict=True) if ids[0] >= 0]
    name = "past_key_values"
    for begin, ids in [*known, (len(row), None)]:
        if begin > at:
            own = torch.arange(at, begin).unsqueeze(0)
            mask = torch.ones(1, cache.get_seq_length() + begin - at, dtype=torch.int64)
            inputs = dict(input_ids=row[at:begin].unsqueeze(0), position_ids=own, attention_mask=mask)
            hidden.append(model.base_model(**inputs, **{name: cache}, use_cache=True).last_hidden_state[0])
            at = begin
        if ids is not None:
            first = max(0, begin + 1 - len(ids))
            alone = DynamicCache()
            positions = torch.arange(first, first + len(ids)).unsqueeze(0)
            model.base_model(
                input_ids=ids.unsqueeze(0), position_ids=positions, **{name: alone}, use_cache=True
            )  # fmt: skip
            for i, layer in enumerate(alone.layers):
                cache.update(layer.keys, layer.values, i)
    return torch.cat(hidden)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_whole_rows_equal_those_beside_transformers_own_cache(architecture, tokens, notes):
    model = tiny_model(architecture)
    with torch.no_grad():
        ours = hidden_states(model, tokens, notes)
    for row in range(ROWS):
        own = Notes(notes.tokens[row], notes.labels[row], notes.begins[row])
        expected = by_transformers(model, tokens[row, : LENGTHS[row]], own)
        torch.testing.assert_close(ours[row, : LENGTHS[row]], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral-sliding", "gemma2"])
def test_rows_that_grow_beside_a_cache_equal_whole_rows(architecture, tokens, notes):
    """Several tokens at first, then one each; notes are taken on the way."""
    model = tiny_model(architecture)
    engine = Engine(model)
    with torch.no_grad():
        whole = hidden_states(model, tokens, notes)
    for length in range(5, WIDTH + 1):
        lengths = LENGTHS.clamp(max=length)
        rows = tokens.masked_fill(torch.arange(WIDTH) >= length, -1)
        ours = engine.next_hidden(rows, lengths, seen_by(notes, length))
        expected = whole[torch.arange(ROWS), lengths - 1]
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    alone = Engine(model)
    alone.next_hidden(tokens, LENGTHS, notes)
    assert engine.tokens_run < 2 * alone.tokens_run  # the old tokens were not run again


def test_rows_without_notes_are_bit_for_bit_those_of_the_plain_model(tokens, notes):
    model = tiny_model("gpt2")
    with torch.no_grad():
        assert torch.equal(hidden_states(model, tokens, notes)[3], hidden_states(model, tokens[3:])[0])
    nothing = Notes.none(ROWS, PLACES, ROOM)
    assert torch.equal(Engine(model).next_hidden(tokens, LENGTHS, nothing), Engine(model).next_hidden(tokens, LENGTHS))
    beside_others = Engine(model).next_hidden(tokens, LENGTHS, notes)
    torch.testing.assert_close(beside_others[3], Engine(model).next_hidden(tokens, LENGTHS)[3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", ["tokens", "labels", "begins"])
def test_a_note_that_changes_changes_its_row_and_no_other(change, tokens, notes):
    """It is part of what the cache is known by: the answer is that of an engine that never saw the old note."""
    model = tiny_model("gpt2")
    engine = Engine(model)
    engine.label_embedding = labels = torch.nn.Embedding(3, 32)
    old = engine.next_logits(tokens, LENGTHS, notes)
    parts = {name: tensor.clone() for name, tensor in notes.as_dict().items()}
    parts[change][1, 0] += 1 if change != "tokens" else -parts["tokens"][1, 0]
    changed = Notes(**parts)
    new = engine.next_logits(tokens, LENGTHS, changed)
    assert [not torch.equal(a, b) for a, b in zip(old, new, strict=True)] == [False, True, False, False]
    with torch.no_grad():
        whole = lm_head(model, hidden_states(model, tokens, changed, labels)[torch.arange(ROWS), LENGTHS - 1])
    torch.testing.assert_close(new, whole, atol=1e-4, rtol=1e-4)
    before = engine.tokens_run
    torch.testing.assert_close(engine.next_logits(tokens, LENGTHS, notes), old, atol=1e-4, rtol=1e-4)
    assert 0 < engine.tokens_run - before <= (WIDTH + ROOM) * 2


def test_labels_that_were_trained_are_noticed(tokens, notes):
    engine = Engine(tiny_model("gpt2"))
    engine.label_embedding = torch.nn.Embedding(3, 32)
    old = engine.next_logits(tokens, LENGTHS, notes)
    with torch.no_grad():
        engine.label_embedding.weight[0] += 1
    new = engine.next_logits(tokens, LENGTHS, notes)
    assert [torch.equal(a, b) for a, b in zip(old, new, strict=True)] == [False, False, False, True]


def test_forked_rows_have_the_notes_of_those_they_continue(tokens, notes):
    engine = Engine(tiny_model("llama"))
    old = engine.next_logits(tokens, LENGTHS, notes)
    rows = torch.tensor([2, 0, 0, 1, 3])
    engine.fork(rows)
    before = engine.tokens_run
    forked = engine.next_logits(tokens[rows], LENGTHS[rows], notes.take(rows))
    assert torch.equal(forked, old[rows])
    assert engine.tokens_run == before
    grown = tokens[rows].clone()
    grown[:, :-1][torch.arange(5), LENGTHS[rows].clamp(max=WIDTH - 2)] = 7
    lengths = (grown >= 0).sum(1)
    fresh = Engine(engine.model).next_logits(grown, lengths, notes.take(rows))
    torch.testing.assert_close(engine.next_logits(grown, lengths, notes.take(rows)), fresh, atol=1e-4, rtol=1e-4)


def test_gradients_reach_what_is_made_of_notes(tokens, notes):
    """And of a note that a row sees late, only by the tokens that see it."""
    model, labels = tiny_model("gpt2"), torch.nn.Embedding(3, 32)
    hidden_states(model, tokens[:2], notes.take(torch.tensor([0, 1])), labels)[1, :9].sum().backward()
    assert (labels.weight.grad == 0).all()
    hidden_states(model, tokens[:2], notes.take(torch.tensor([0, 1])), labels)[1, 9].sum().backward()
    assert labels.weight.grad[0].abs().sum() > 0


@pytest.mark.parametrize("name", ["bloom", "mpt", "mamba"])
def test_models_that_cannot_have_notes_are_refused(name):
    """Positions that are made in the attention, biases by the number of keys, no keys at all."""
    engine, notes = (
        Engine(tiny(name)),
        Notes(torch.ones(1, 1, 3).long(), torch.zeros(1, 1).long(), torch.zeros(1, 1).long()),
    )
    with pytest.raises(ValueError, match=r"cannot have a memory of notes: .* as GPT-2, Llama or Qwen"):
        engine.next_logits(torch.ones(1, 8).long(), torch.tensor([8]), notes)
