"""Self-distillation: what a turn gains by hindsight, counted by hand, and a user whose words name what they want."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.self_distillation import SelfDistillation, SelfDistillationConfig
from dyngen_agents.cli.main import main
from dyngen_agents.data.hindsight import hindsight_rows
from dyngen_agents.data.rollout import collect
from dyngen_agents.data.shared_rollout import EnvPlay
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import train
from dyngen_env import Feedback
from tests.support.tiny_mdp import tiny_env, tiny_policy


class Names:
    """Says which of the letters it wants to read, always the same one; never rates."""

    answers = True

    def __init__(self, letter="b"):
        self.letter = letter

    def begin(self, examples, rngs):
        return [None] * len(examples)

    def reply(self, dialogues, rngs):
        return [Feedback(self.letter) for _ in dialogues]


def env_of(rows=32, user=None, **settings):
    defaults = dict(max_turns=2, max_new_tokens=1, reward="rating", max_context_tokens=16)
    return tiny_env(rows, user=user or Names(), **(defaults | settings))


def learner_of(env, policy, **changes):
    settings = dict(warmup_steps=0, kl_coef=0.0, minibatch_size=32)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    learner = SelfDistillation(policy, reference, SelfDistillationConfig(**(settings | changes)))
    learner.env = env
    return learner


@torch.no_grad()
def logprobs_by_hand(lm, context, turn, legal):
    """log π of each token of a turn after a context, one forward a token, over the legal tokens."""
    out = []
    for i, token in enumerate(turn):
        logits = lm(torch.tensor([[*context, *turn[:i]]])).logits[0, -1, : len(legal)].masked_fill(~legal, -torch.inf)
        out.append(float(logits.log_softmax(0)[token]))
    return out


def test_the_gain_is_the_difference_of_two_log_probs():
    """With the letters' tokenizer: a, b, end = 0, 1, 2; what begins the agent's turn is 3, the user's 4."""
    env = env_of(8, max_new_tokens=3)
    policy = tiny_policy(env)
    batch = collect(env, Actor(policy, 0), 8, seed=0)
    gains, heard = learner_of(env, policy, largest_gain=50.0).gains(batch)
    assert torch.equal(heard, batch.completion_mask)
    legal = env.legal_tokens()
    for tokens, mask, row in zip(batch.tokens.tolist(), batch.completion_mask.tolist(), gains.tolist(), strict=True):
        chosen = [i for i, mine in enumerate(mask) if mine]
        second = next((i for i in chosen if not mask[i - 1] and i != chosen[0]), None)
        for start in [chosen[0]] + ([second] if second else []):
            end = next(i for i in range(start, len(mask) + 1) if i == len(mask) or not mask[i])
            turn, context = tokens[start:end], tokens[:start]
            assert context[-1] == 3
            hindsight = [*context, 2, 4, 1, 3]  # an empty turn, the user's "b", and the agent's turn begins
            with_words = logprobs_by_hand(policy.lm, hindsight, turn, legal)
            without = logprobs_by_hand(policy.lm, context, turn, legal)
            expected = [a - b for a, b in zip(with_words, without, strict=True)]
            assert row[start:end] == pytest.approx(expected, abs=1e-5)


def obedient_policy(env):
    """A policy that has learned by imitation to write any letter at first, and then the letter that a user names."""
    policy = tiny_policy(env, spread=0.02)
    adam = torch.optim.Adam(policy.lm.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        said, wish = torch.randint(0, 2, (2, 32), generator=generator)
        end, agent, user = (torch.full_like(said, token) for token in (2, 3, 4))
        talk = torch.stack([user, agent, said, end, user, wish, agent, wish], 1)
        silent = torch.stack([user, agent, end, user, wish, agent, wish], 1)
        loss = sum(
            torch.nn.functional.cross_entropy(policy.lm(ids).logits[:, at - 1], ids[:, at])
            for ids, at in ((talk, 2), (talk, 7), (silent, 6))
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    return policy


def test_a_policy_learns_what_the_user_names_from_the_words_alone():
    """It does as it was told already, when it is told; now it does so before: nobody rates, nothing is paid."""
    env = env_of(prompts=[""])
    policy = obedient_policy(env)
    learner = learner_of(env, policy, learning_rate=5e-3)
    first = []
    for update in range(6):
        batch = collect(env, learner.actor(update), 32, seed=32 * update)
        assert batch.rewards.abs().sum() == 0
        metrics = learner.update(batch)
        first.append(sum(talk[1]["text"] == "b" for talk in batch.dialogues) / 32)
    assert first[0] < 0.8 and first[-1] > 0.95
    assert metrics["heard"] == 1.0


def test_turns_without_words_teach_nothing():
    class Once(Names):
        def reply(self, dialogues, rngs):
            return [Feedback("b" if len(dialogue.completions) == 1 else "") for dialogue in dialogues]

    env = env_of(4, Once())
    policy = tiny_policy(env)
    batch = collect(env, Actor(policy, 0), 4, seed=0)
    gains, heard = learner_of(env, policy).gains(batch)
    first = batch.completion_mask & (batch.completion_mask.cumsum(1) == 1)
    assert torch.equal(heard, first) and bool((gains[first] != 0).all()) and gains[~first].abs().sum() == 0


def test_the_answer_that_ends_a_dialogue_teaches_too():
    env = env_of(4, max_turns=1)
    batch = collect(env, Actor(tiny_policy(env), 0), 4, seed=0)
    rows = hindsight_rows(batch, env.tokenizer, window=32)
    assert len(rows.tokens) == 4 and rows.tokens[:, 3:7].tolist() == [[2, 4, 1, 3]] * 4
    assert torch.equal(rows.aligned(rows.completion_mask, batch.completion_mask), batch.completion_mask)
    assert hindsight_rows(batch, env.tokenizer, window=7) is None, "they do not fit into such a window"


def test_nobody_who_speaks(caplog):
    env = env_of(4, Names(""))
    policy = tiny_policy(env)
    before = copy.deepcopy(policy.lm.state_dict())
    metrics = learner_of(env, policy).update(collect(env, Actor(policy, 0), 4, seed=0))
    assert metrics["heard"] == 0 and "nobody has said a word in 4 episodes" in caplog.text
    assert all(torch.equal(weight, before[name]) for name, weight in policy.lm.state_dict().items())
    silent = tiny_env(4, reward=len)
    learner = learner_of(silent, tiny_policy(silent))
    with pytest.raises(ValueError, match="nobody answers in this env: give it a user"):
        learner.experience(EnvPlay(silent, 4, seed=0, actor_seed=0))


def test_a_resumed_run_equals_an_uninterrupted_one_and_is_inspected(tiny_config):
    settings = tiny_config(updates=2, max_turns=2, max_context_tokens=100, reward="rating")
    whole = train(replace(settings, out="whole"), SelfDistillationConfig(), user=Names("longer"))
    parts = train(replace(settings, out="parts", max_minutes=1e-9), SelfDistillationConfig(), user=Names("longer"))
    train(TrainConfig(resume=str(parts), max_minutes=10.0), user=Names("longer"))
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(parts / name), load_file(whole / name)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert all(record["heard"] > 0.9 and record["gain"] != 0 for record in read_metrics(whole)), read_metrics(whole)
    page = inspect_run(whole, 2, user=Names("longer"))
    tokens = [t for turn in page["episodes"][0]["turns"] if turn["role"] == "agent" for t in turn["tokens"]]
    assert any(token["gain"] != 0 for token in tokens)


def test_an_env_in_which_nobody_answers_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "self-distillation", "--episodes", "4", "--updates", "1", "--threads", "1"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "self-distillation learns" in line]
    assert line.endswith("give it a user, as in user='simulated', or take dyngen/Dialogue-v0")
