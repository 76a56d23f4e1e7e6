"""Low-rank adapters: one copy of the base serves as policy and reference; few weights change; a run goes on exactly."""

from __future__ import annotations

import builtins
import gc
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCEConfig
from dyngen_agents.cli.main import main
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.lora import add_lora, base_of, has_lora, load_lora, merged, save_lm
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs import learner as learner_module
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.learner import Learner
from dyngen_agents.training.train import TrainConfig, train
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.fuse import fuse_elementwise
from dyngen_env.lm.loading.models import load_model
from tests.agents.training.test_train import numbers
from tests.support.architectures import tiny
from tests.support.small import small_env, small_lm

TOKENS = torch.tensor([[256, 97, 98, 99, 257], [256, 120, 121, 120, 121]])


def logits(lm, tokens=TOKENS):
    with torch.no_grad():
        return lm(tokens).logits


def with_learned_adapters(rank=4, seed=0):
    """A model whose adapters are not zero any more, and the logits of its base."""
    lm = small_lm().eval()
    before = logits(lm)
    add_lora(lm, rank, seed)
    generator = torch.Generator().manual_seed(1)
    for parameter in lm.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return lm, before


def test_a_new_adapter_changes_nothing_and_is_all_that_learns():
    lm = small_lm().eval()
    before = logits(lm)
    add_lora(lm, 4, seed=0)
    assert torch.equal(logits(lm), before)
    learning = {name: p for name, p in lm.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in learning)
    # By hand: r (in + out) for each of the four linear layers of a block of width 32, and two blocks.
    assert sum(p.numel() for p in learning.values()) == 2 * 4 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))


def test_equal_seeds_give_equal_adapters():
    models = [small_lm() for _ in range(3)]
    state = torch.random.get_rng_state()
    for lm, seed in zip(models, (1, 1, 2), strict=True):
        add_lora(lm, 4, seed)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is as it was
    first, again, other = (next(p for p in lm.parameters() if p.requires_grad) for lm in models)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_with_the_adapter_off_it_is_the_base_to_the_last_bit():
    lm, before = with_learned_adapters()
    adapted = logits(lm)
    assert not torch.allclose(adapted, before, atol=0.1)
    with base_of(lm) as base:
        assert torch.equal(logits(base), before)
    assert torch.equal(logits(lm), adapted)
    assert any(p.requires_grad for p in lm.parameters())
    with pytest.raises(ZeroDivisionError), base_of(lm):
        1 / 0  # noqa: B018
    assert torch.equal(logits(lm), adapted)


def test_a_model_without_adapters_is_its_own_base():
    lm = small_lm()
    assert not has_lora(lm)
    with base_of(lm) as base:
        assert base is lm


def test_the_reference_is_the_base():
    env = small_env(2)
    lm, _ = with_learned_adapters()
    policy = CausalLMPolicy(lm, env.token_distribution())
    plain = small_lm().eval()
    fuse_elementwise(plain)  # as the policy's engine has done to its own, whose adapters that left alone
    frozen = Reference(plain, policy.distribution)
    chosen = TOKENS >= 0
    chosen[:, 0] = False
    expected = frozen.logprobs(TOKENS, chosen)
    assert torch.equal(Reference(lm, policy.distribution).logprobs(TOKENS, chosen), expected)
    assert not torch.allclose(policy.evaluate(TOKENS, chosen).logprobs, expected, atol=0.1)


def test_the_cached_engine_follows_the_adapter():
    """Cached logits equal whole forwards, before and after a step that changes nothing but adapters."""
    env = small_env(2)
    lm, _ = with_learned_adapters()
    policy = CausalLMPolicy(lm, env.token_distribution())
    lengths = torch.tensor([3, 3])
    for _ in range(2):
        for more in range(3):
            cached = policy.engine.next_logits(TOKENS, lengths + more)
            torch.testing.assert_close(cached, logits(lm)[:, 2 + more], atol=1e-4, rtol=0)
        for parameter in lm.parameters():
            if parameter.requires_grad:
                with torch.no_grad():
                    parameter.mul_(1.5)


def test_merged_weights_by_hand():
    lm, _ = with_learned_adapters()
    attention = lm.transformer.h[1].attn.c_attn
    a, b = attention.lora_A["default"].weight, attention.lora_B["default"].weight
    # GPT-2 keeps its weights as (in, out); alpha is 2r.
    expected = attention.base_layer.weight + 2 * (b @ a).T
    found = merged(lm)
    torch.testing.assert_close(found["transformer.h.1.attn.c_attn.weight"], expected)
    assert found.keys() == small_lm().state_dict().keys()


def test_what_is_saved(tmp_path):
    lm, _ = with_learned_adapters()
    adapted = logits(lm)
    save_lm(lm, tmp_path)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), adapted, atol=1e-5, rtol=0)
    assert torch.equal(logits(lm), adapted)  # saving has changed nothing
    # PEFT itself, and we, get the adapter to the last bit.
    assert torch.equal(logits(PeftModel.from_pretrained(small_lm().eval(), tmp_path / "adapter")), adapted)
    again = small_lm().eval()
    add_lora(again, 4, seed=9)
    load_lora(again, tmp_path)
    assert torch.equal(logits(again), adapted)


def test_a_base_in_bfloat16_has_adapters_in_float32(tmp_path):
    lm = small_lm().eval().to(torch.bfloat16)
    add_lora(lm, 4, seed=0)
    assert {p.dtype for p in lm.parameters() if p.requires_grad} == {torch.float32}
    save_lm(lm, tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16


class TestOtherArchitectures:
    """Experts in one parameter, fused projections, a head narrower than the layers, projections of two factors."""

    @pytest.mark.parametrize(
        "name",
        [
            "qwen3-moe",
            "mixtral",
            "deepseek-v3",
            "gpt-bigcode",
            "falcon",
            "opt-350m",
            "phi3",
            "bloom",
            "bart",
            "granite",
        ],
    )
    def test_what_is_saved(self, name, tmp_path):
        lm, tokens = tiny(name), torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(0))
        before = logits(lm, tokens)
        add_lora(lm, 2, seed=0)
        assert torch.equal(logits(lm, tokens), before)
        for parameter in lm.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        adapted = logits(lm, tokens)
        assert not torch.allclose(adapted, before, atol=0.1)
        save_lm(lm, tmp_path)
        whole = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(logits(whole, tokens), adapted, atol=1e-4, rtol=1e-4)
        again = tiny(name)
        add_lora(again, 2, seed=9)
        load_lora(again, tmp_path)
        assert torch.equal(logits(again, tokens), adapted)
        with base_of(lm) as base:
            torch.testing.assert_close(logits(base, tokens), before, atol=1e-5, rtol=1e-5)

    def test_experts_with_adapters_are_run_beside_a_cache(self):
        """PEFT re-registers the experts' weights in each forward, which looks like a change of weights."""
        lm, lengths = tiny("qwen3-moe"), torch.tensor([5, 3])
        tokens = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(0))
        add_lora(lm, 2, seed=0)
        expected, engine = logits(lm, tokens), Engine(lm)
        engine.next_logits(tokens, lengths)
        before = engine.tokens_run
        for more in range(1, 4):
            found = engine.next_logits(tokens, lengths + more)
            torch.testing.assert_close(found[0], expected[0, 4 + more], atol=1e-4, rtol=1e-4)
        assert engine.tokens_run == before + 3 * 2

    def test_what_peft_cannot_adapt_is_refused_before_training(self):
        with pytest.raises(
            ValueError, match=r"^no LoRA for MambaForCausalLM: .*[^.]\. Train it whole, without lora_rank$"
        ):
            add_lora(tiny("mamba"), 2, seed=0)

    def test_adapters_that_could_not_be_loaded_again_are_refused_before_training(self, monkeypatch):
        found = SimpleNamespace(unexpected_keys=["layers.0.lora_A"])
        monkeypatch.setattr("peft.set_peft_model_state_dict", lambda *_: found)
        with pytest.raises(ValueError, match=r"PEFT does not find layers\.0\.lora_A again"):
            add_lora(tiny("llama"), 2, seed=0)


@pytest.mark.parametrize(
    "algorithm", [PPOConfig(epochs=1, minibatch_size=4), REINFORCEConfig()], ids=["ppo", "reinforce"]
)
def test_an_update_changes_adapters_and_value_head_only(tiny_config, algorithm):
    learner = Learner(tiny_config(lora_rank=2), algorithm)
    before = {name: p.detach().clone() for name, p in learner.policy.named_parameters()}
    metrics = learner.learn(learner.play())
    assert abs(metrics["kl_per_token"]) < 1e-5  # policy and reference begin alike
    changed = {name for name, p in learner.policy.named_parameters() if not torch.equal(p, before[name])}
    head = {"value_head.weight", "value_head.bias"} if isinstance(algorithm, PPOConfig) else set()
    # A learns from the second step on: its gradient is that of B A x, and B is zero in the first.
    assert {name for name in changed if ".lora_A." not in name} == head | {n for n in before if ".lora_B." in n}
    assert abs(learner.learn(learner.play())["kl_per_token"]) > 1e-6


def test_one_copy_of_the_base_is_held(tiny_config, monkeypatch):
    def alive():
        gc.collect()
        return sum(type(o) is GPT2LMHeadModel for o in gc.get_objects())

    def no_reference(name, **options):
        assert options["fresh"], "a second copy was asked for"
        return load_model(name, **options)

    monkeypatch.setattr(learner_module, "load_model", no_reference)
    before = alive()
    learner = Learner(tiny_config(lora_rank=2), PPOConfig())
    assert alive() == before + 1
    learner.learn(learner.play())
    assert alive() == before + 1
    assert learner.reference.lm is learner.policy.lm
    assert (
        len(learner.algorithm.common.optimizer.parameters) == 2 * 2 * 4 + 2
    )  # A and B of 2 blocks' 4 layers, and the head


def test_a_run_with_adapters_is_a_run(tiny_config, capsys):
    settings = dict(lora_rank=2, updates=4, max_minutes=10.0)
    whole = train(tiny_config(out="whole", **settings))
    parts = train(tiny_config(out="parts", **(settings | dict(max_minutes=1e-9))))
    train(TrainConfig(resume=str(parts), max_minutes=10.0))
    assert numbers(parts) == numbers(whole)
    assert numbers(whole)[-1]["kl_per_token"] != 0
    for name in ("model.safetensors", "training.safetensors", "adapter/adapter_model.safetensors"):
        ours, theirs = load_file(parts / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert len((whole / "samples.md").read_text().splitlines()) == 2 + 6
    assert main(["eval", "whole", "--episodes", "4", "--json"]) == 0
    assert main(["generate", "whole", "--prompt", "The film", "--max-new-tokens", "3"]) == 0
    assert "The film" in capsys.readouterr().out
    with pytest.raises(ValueError, match="lora_rank=5 differs from the resumed run's 2"):
        train(TrainConfig(resume=str(whole), lora_rank=5))


def test_resumed_in_the_middle_it_goes_on_exactly(tiny_config):
    """The adapters are not zero when the run is interrupted, and their sum with the base is rounded: it is not read."""
    settings = tiny_config(lora_rank=2, updates=4)
    learner = Learner(settings, PPOConfig())
    for _ in range(2):
        learner.learn(learner.play())
    learner.save(Path("middle"))
    again = Learner(settings, PPOConfig(), checkpoint=open_checkpoint(Path("middle")))
    first, second = learner.learn(learner.play()), again.learn(again.play())
    assert first == second
    for (name, ours), (_, theirs) in zip(
        learner.policy.named_parameters(), again.policy.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_without_peft_one_message(tiny_config, monkeypatch, capsys):
    original = builtins.__import__

    def refusing(name, *args, **kwargs):
        if name == "peft":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    config = tiny_config()
    arguments = ["train", "ppo", "--model", config.model, "--prompts", config.prompts, "--lora-rank", "4"]
    assert main(arguments) == 2
    assert "pip install peft" in capsys.readouterr().err
