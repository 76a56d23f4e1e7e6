"""Where a kernel draws tokens, where torch's operations do, and that a wrong kernel is found out."""

import logging
from importlib import import_module

import pytest
import torch

from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.sampling import greedy, sample
from dyngen_env.text.tokenizer import ByteTokenizer

module = import_module("dyngen_env.lm.draw")
GENERATOR = torch.Generator().manual_seed(0)
RAW = torch.randn(5, 12, generator=GENERATOR).to(torch.bfloat16)
UNIFORM = torch.rand(5, generator=GENERATOR)
LEGAL = torch.tensor([True, False] * 5)
DISTRIBUTION = TokenDistribution(LEGAL, None, SamplingConfig(temperature=0.5))


def by_torch(raw, legal, uniform, temperature):
    """What the kernel must give."""
    return sample(TokenDistribution(legal, None, SamplingConfig(temperature=temperature)).warp(raw, None), uniform)


@pytest.fixture
def install(monkeypatch):
    """Makes a function the kernel, on CPUs as well; gives the list of its calls."""

    def install(kernel):
        calls = []

        def counted(*arguments):
            calls.append(arguments)
            return kernel(*arguments)

        monkeypatch.setattr(module, "KERNEL_ON", "cpu")
        monkeypatch.setattr(module, "_suits", {})
        monkeypatch.setattr(module, "_load_kernel", lambda: counted)
        return calls

    return install


def test_without_a_gpu_torchs_operations_draw(monkeypatch):
    monkeypatch.setattr(module, "_load_kernel", lambda: pytest.fail("there is no GPU"))
    for got, expected in zip(
        module.draw(DISTRIBUTION, RAW, None, UNIFORM), by_torch(RAW, LEGAL, UNIFORM, 0.5), strict=True
    ):
        assert torch.equal(got, expected)


def test_a_right_kernel_draws_and_is_compared_once_for_each_kind_of_logits(install, caplog):
    calls = install(by_torch)
    for _ in range(3):
        tokens, _ = module.draw(DISTRIBUTION, RAW, None, UNIFORM)
    assert len(calls) == 4 and torch.equal(tokens, by_torch(RAW, LEGAL, UNIFORM, 0.5)[0])
    module.draw(DISTRIBUTION, RAW.float(), None, UNIFORM)
    assert len(calls) == 6 and not caplog.records


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda t, p: (t, p + 0.01), "log-probs differ by 0.01"),
        (lambda t, p: (t, p * torch.nan), "log-probs differ by nan"),
        (lambda t, p: (t + 1, p), "log-probs differ by inf"),  # odd tokens are illegal
        (lambda t, p: (t + 1000, p), "not among 10"),
        (
            lambda t, p: (t * 0, DISTRIBUTION.warp(RAW, None).log_softmax(-1)[:, 0]),
            "off in the cumulative distribution",
        ),
        (lambda t, p: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["log-prob", "nan", "illegal token", "no token", "another token", "error"],
)
def test_a_wrong_kernel_is_found_at_first_use_and_one_warning_says_so(wrong, message, install, caplog):
    calls = install(lambda *arguments: wrong(*by_torch(*arguments)))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tokens, logprobs = module.draw(DISTRIBUTION, RAW, None, UNIFORM)
    expected = by_torch(RAW, LEGAL, UNIFORM, 0.5)
    assert torch.equal(tokens, expected[0]) and torch.equal(logprobs, expected[1])
    assert len(calls) == 1 and [message in record.message for record in caplog.records] == [True]


def test_without_triton_nobody_is_warned(install, monkeypatch, caplog):
    install(by_torch)
    monkeypatch.setattr(module, "_load_kernel", lambda: None)
    assert torch.equal(module.draw(DISTRIBUTION, RAW, None, UNIFORM)[0], by_torch(RAW, LEGAL, UNIFORM, 0.5)[0])
    assert not caplog.records


@pytest.mark.parametrize("sampling", [SamplingConfig(0.0), SamplingConfig(top_k=3), SamplingConfig(top_p=0.9)], ids=str)
def test_what_the_kernel_cannot_do_is_left_to_torch(sampling, install):
    calls, distribution = install(by_torch), DISTRIBUTION.with_sampling(sampling)
    tokens, _ = module.draw(distribution, RAW, None, UNIFORM)
    assert not calls and torch.equal(tokens, sample(distribution.warp(RAW, None), UNIFORM)[0])


def test_greedy_choices_and_banned_words_are_left_to_torch(install):
    calls = install(by_torch)
    assert torch.equal(module.draw(DISTRIBUTION, RAW, None, None)[0], greedy(DISTRIBUTION.warp(RAW, None))[0])
    tokenizer = ByteTokenizer()
    banning = TokenDistribution.of(tokenizer, banned=["no"])
    raw = torch.zeros(1, len(tokenizer))
    states = banning.state(torch.tensor([list(b"say n")]), torch.tensor([5]))
    token, _ = module.draw(banning, raw, states, torch.tensor([0.4]))
    assert torch.equal(token, sample(banning.warp(raw, states), torch.tensor([0.4]))[0])
    assert not calls
