"""Policies that see and hear: acting and evaluating agree, encoders learn with the policy, and runs go on exactly."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.ppo import PPOConfig
from dyngen_agents.data.batching import map_in_batches
from dyngen_agents.data.encoding import encoded_anew
from dyngen_agents.data.episodes import Episode
from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.feedback_memory import MemoryActor
from dyngen_agents.policy.lora import add_lora, base_of, save_lm
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.opened_run import open_run
from dyngen_agents.training.train import TrainConfig, train
from dyngen_env import Example, Feedback
from dyngen_env.lm import load_model, load_tokenizer
from dyngen_env.lm.modalities import attach_encoder, encoder_of, small_encoder
from dyngen_env.text.media import MediaRoom
from dyngen_env.text.media.tokens import is_media
from dyngen_env.text.tokenizer import ByteTokenizer
from tests.agents.training.test_train import numbers
from tests.support.media import EXAMPLES, SPEAKS, Shows, picture, tone
from tests.support.small import small_env, small_policy

TALKS = Shows(tuple(Feedback(str(i), float(i), media=(tone(i),)) for i in range(4)), SPEAKS)


def env_of(rows=6, **options):
    return small_env(rows, **(dict(prompts=EXAMPLES, max_context_tokens=40) | options))


def talking_env(**options):
    return env_of(user=TALKS, max_turns=3, max_new_tokens=3, max_context_tokens=64, **options)


def policy_of(env, seed=0):
    policy = small_policy(env, seed)
    attach_encoder(policy.lm, small_encoder(policy.lm, pictures=(32, 32), sounds=0.5))
    encoder_of(policy.lm).part("picture").out.weight.data.mul_(20)  # what is shown matters from the beginning
    return policy


def evaluated(policy, batch):
    def logprobs(*given):
        tokens, mask, *notes = given
        return policy.evaluate(tokens, mask, notes=notes[0] if notes else None).logprobs

    return map_in_batches(logprobs, batch, 512)


@pytest.mark.parametrize("env", [env_of, talking_env, lambda: talking_env(context_overflow="drop_oldest")])
def test_acting_and_evaluating_agree(env):
    env = env()
    policy = policy_of(env)
    batch = collect(env, Actor(policy, 1), 12, seed=0)
    assert is_media(batch.tokens).any() and any(batch.media)
    torch.testing.assert_close(evaluated(policy, batch), batch.logprobs, atol=1e-5, rtol=1e-5)


def test_a_memory_beside_media():
    env = talking_env()
    policy = policy_of(env)
    batch = collect(env, MemoryActor(policy, 1, note_tokens=6, kept_notes=1), 6, seed=0)
    assert batch.notes and is_media(batch.tokens).any()
    torch.testing.assert_close(evaluated(policy, batch), batch.logprobs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("env", [env_of, talking_env])
def test_several_tokens_between_two_looks_are_the_same_tokens(env):
    env = env()
    policy = policy_of(env)
    first, again = (collect(env, Actor(policy, 1), 12, seed=0, steps=steps) for steps in (None, 4))
    assert torch.equal(first.tokens, again.tokens)
    torch.testing.assert_close(first.logprobs, again.logprobs, atol=1e-5, rtol=1e-5)


def test_what_is_shown_matters():
    policy = policy_of(env_of())
    env = env_of(2)
    batches = [
        collect(env, Actor(policy, 1, deterministic=True), 2, examples=[Example("ab", media=m) for m in media], seed=0)
        for media in ([(picture(0),), (picture(1),)], [(picture(1),), (picture(0),)])
    ]
    same = [a.values[i] for a, i in zip((*batches, *batches), (0, 1, 1, 0), strict=True)]
    assert torch.allclose(same[0], same[1], atol=1e-5) and torch.allclose(same[2], same[3], atol=1e-5)
    values = evaluated(policy, batches[0])
    assert (values[0] - values[1]).abs().max() > 1e-3


def test_the_reference_sees_what_the_policy_sees_and_the_encoder_learns():
    env = env_of()
    policy, reference = policy_of(env), Reference(policy_of(env).lm, env.token_distribution())
    batch = collect(env, Actor(policy, 1), 6, seed=0)
    before = policy.evaluate(batch.tokens, batch.completion_mask, reference=reference)
    assert before.kls.abs().max() < 1e-5
    before.logprobs.sum().backward()
    part = encoder_of(policy.lm).part("picture")
    assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    with torch.no_grad():
        part.out.weight.mul_(-1)
    after = policy.evaluate(batch.tokens, batch.completion_mask, reference=reference)
    shown = is_media(batch.tokens).any(1)
    assert after.kls[shown].sum() > 1e-3 and after.kls[~shown].abs().max() < 1e-5


def test_a_blind_policy_says_so():
    env = env_of()
    with pytest.raises(ValueError, match=r"are shown, and the model .* has no encoder"):
        collect(env, Actor(small_policy(env), 1), 6, seed=0)


def test_adapters_leave_the_encoder_as_it_is(tmp_path):
    env = env_of()
    lm = policy_of(env).lm
    add_lora(lm, 2, seed=0)
    for name, parameter in lm.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    policy = CausalLMPolicy(lm, env.token_distribution())
    batch = collect(env, Actor(policy, 1), 6, seed=0)
    with base_of(lm):
        untrained = policy_of(env).evaluate(batch.tokens, batch.completion_mask).logprobs
        ours = policy.evaluate(batch.tokens, batch.completion_mask).logprobs
    torch.testing.assert_close(ours, untrained, atol=1e-5, rtol=1e-5)
    save_lm(lm, tmp_path)
    whole = CausalLMPolicy(load_model(str(tmp_path), fresh=True), env.token_distribution())
    ours = whole.evaluate(batch.tokens, batch.completion_mask).logprobs
    torch.testing.assert_close(ours, batch.logprobs, atol=1e-4, rtol=1e-4)


def test_recorded_texts_are_encoded_as_the_env_shows_them():
    env = talking_env()
    batch = collect(env, Actor(policy_of(env), 1), 3, examples=EXAMPLES, seed=0)
    for row, example in enumerate(EXAMPLES):
        talk = batch.dialogues[row]
        said = [turn["text"] for turn in talk if turn["role"] == "agent"]
        if "\ufffd" in "".join(said) or batch.finish_reasons[row] == "illegal":
            continue
        episode = Episode(example, tuple(said), TALKS.replies[: len(said)], True, batch.finish_reasons[row])
        ids = encoded_anew(episode, ByteTokenizer(), "", ended=True).ids
        shown = [i for i in batch.tokens[row].tolist() if i >= 0]
        assert [i for i in ids if i >= 256] == [i for i in shown if i >= 256]


class ShowsOne:
    """A user of a training run, who shows a picture and rates the vowels."""

    media = MediaRoom(pictures=1, picture_size=(32, 32))
    answers = True

    def begin(self, examples, rngs):
        return [int(rng.integers(9)) for rng in rngs]

    def reply(self, dialogues, rngs):
        return [
            Feedback("more", float(sum(map(d.completions[-1].count, "aeiou"))), media=(picture(d.persona),))
            for d in dialogues
        ]


def test_a_resumed_run_with_an_encoder_equals_an_uninterrupted_one(tiny_config, tiny_model, tmp_path):
    lm, folder = load_model(str(tiny_model), fresh=True), tmp_path / "sees"
    attach_encoder(lm, small_encoder(lm, pictures=(32, 32)))
    folder.mkdir()
    save_lm(lm, folder)
    load_tokenizer(str(tiny_model)).save_pretrained(folder)
    settings = tiny_config(model=str(folder), max_turns=2, max_context_tokens=60, reward="rating", updates=2)
    whole = train(replace(settings, out="whole"), PPOConfig(), user=ShowsOne())
    run = train(replace(settings, out="parts", max_minutes=1e-9), PPOConfig(), user=ShowsOne())
    assert train(TrainConfig(resume=str(run), max_minutes=10.0), user=ShowsOne()) == run
    assert numbers(run) == numbers(whole)
    for name in ("model.safetensors", "training.safetensors", "encoder.safetensors"):
        ours, theirs = load_file(run / name), load_file(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs) and ours.keys() == theirs.keys()
    before, after = load_file(folder / "encoder.safetensors"), load_file(run / "encoder.safetensors")
    assert not torch.equal(before["parts.picture.out.weight"], after["parts.picture.out.weight"])
    opened = open_run(run, user=ShowsOne())
    assert encoder_of(opened.policy.lm) is not None and encoder_of(opened.reference.lm) is not None


def test_a_run_of_a_blind_model_stops_before_it_plays(tiny_config):
    with pytest.raises(ValueError, match=r"pictures are shown, and the model .* has no encoder"):
        train(tiny_config(max_turns=2, reward="rating"), user=ShowsOne())
