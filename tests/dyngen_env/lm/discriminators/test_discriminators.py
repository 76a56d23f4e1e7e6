"""Discriminators against arithmetic by hand, against themselves on cut texts, and after a trip through a file."""

import pytest
import torch
from safetensors.torch import save_file

from dyngen_env.lm.discriminators.convolutional import ConvolutionalDiscriminator
from dyngen_env.lm.discriminators.file import FILE, DiscriminatorRecord, read_discriminator
from dyngen_env.lm.discriminators.hidden_state import HiddenStateDiscriminator
from dyngen_env.lm.discriminators.reading import as_read
from dyngen_env.lm.engine.heads import hidden_states
from tests.support.tiny_models import tiny_model

TOKENS = torch.tensor([[5, 3, 3, 9, 1, 0, 2], [7, 4, 8, -1, -1, -1, -1], [6, -1, -1, -1, -1, -1, -1]])


def build(kind):
    if kind == "convolutional":
        return ConvolutionalDiscriminator(97, embedding=8, widths=(1, 2, 3), filters=4, seed=3)
    lm = tiny_model("gpt2")
    return HiddenStateDiscriminator(lambda tokens: hidden_states(lm, tokens), 32, inner=8, seed=3)


@pytest.mark.parametrize("kind", ["convolutional", "hidden-state"])
def test_a_prefix_is_judged_as_the_text_that_ends_there(kind):
    judge = build(kind)
    with torch.no_grad():
        prefixes = judge.prefix_logits(TOKENS)
        lengths = (TOKENS >= 0).sum(1).tolist()
        for row, length in enumerate(lengths):
            for end in range(1, length + 1):
                alone = judge.logits(TOKENS[row : row + 1, :end])
                assert float(prefixes[row, end - 1]) == pytest.approx(float(alone), abs=1e-5)
            assert prefixes[row, length:].tolist() == pytest.approx([float(prefixes[row, length - 1])] * (7 - length))
        torch.testing.assert_close(judge.logits(TOKENS), prefixes[:, -1], atol=1e-5, rtol=0)
    assert len({round(x, 4) for x in prefixes[0].tolist()}) > 2  # it depends on the text


def test_the_convolution_by_hand():
    """One filter of width 2 over embeddings of width 1, relu(2 e(x₋₁) - e(x) + ½); its maximum; the highway."""
    judge = ConvolutionalDiscriminator(3, embedding=1, widths=(2,), filters=1, dropout=0.0)
    weights = {
        "embedding.weight": [[1.0], [2.0], [3.0]], "width 2.weight": [[[2.0, -1.0]]], "width 2.bias": [0.5],
        "gate.weight": [[0.0]], "gate.bias": [0.0], "transform.weight": [[3.0]], "transform.bias": [-1.0],
        "out.weight": [[2.0]], "out.bias": [0.25],
    }  # fmt: skip
    judge.module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    # Tokens 0, 2, 1: answers relu(-1 + ½) = 0, relu(2 - 3 + ½) = 0, relu(6 - 2 + ½) = 4.5.
    highway = 0.5 * (3 * 4.5 - 1) + 0.5 * 4.5
    expected = [0.25, 0.25, 2 * highway + 0.25]
    assert judge.prefix_logits(torch.tensor([[0, 2, 1]])).flatten().tolist() == pytest.approx(expected)


def test_new_weights_come_from_the_seed_and_leave_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = (ConvolutionalDiscriminator(9, seed=seed).module["out"].weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_dropped_comes_from_the_generator():
    judge = build("convolutional")
    a, b, c = (judge.logits(TOKENS, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert not torch.equal(a, judge.logits(TOKENS))


def test_a_span_is_read_with_one_token_for_every_end():
    tokens = torch.tensor([[10, 11, 12, 13, 7], [20, 21, 5, -1, -1]])
    read = as_read(tokens, torch.tensor([2, 0]), torch.tensor([5, 3]), {7, 5})
    assert read.tolist() == [[12, 13, 5], [20, 21, 5]]
    assert as_read(tokens, torch.tensor([0, 1]), torch.tensor([4, 2]), ()).tolist() == [
        [10, 11, 12, 13],
        [21, -1, -1, -1],
    ]


def written(folder, **changes):
    judge = build("convolutional")
    record = DiscriminatorRecord(judge.kind, judge.settings, "bytes", "sha256:1", **changes)
    save_file(judge.module.state_dict(), folder / FILE, record.metadata())
    return judge, record


def test_a_file_gives_the_same_discriminator(tmp_path):
    judge, record = written(tmp_path, reads_prompt=False)
    for path in (tmp_path, tmp_path / FILE):
        saved = read_discriminator(path)
        assert saved.record == record
        assert torch.equal(saved.on("cpu").logits(TOKENS), judge.logits(TOKENS))


def test_what_is_no_discriminator_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no discriminator in .*run of `dyngen train adversarial`"):
        read_discriminator(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(ValueError, match="is no discriminator that can be read"):
        read_discriminator(tmp_path)
    written(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-10])
    with pytest.raises(ValueError, match="is no discriminator that can be read"):
        read_discriminator(tmp_path)
