"""Adversarial training: what tokens are paid, that it learns to write as people do, and that a run goes on."""

import copy
import dataclasses
import logging
import signal

import pytest
import torch
from safetensors.torch import load_file

from dyngen_agents.algorithms.adversarial import Adversarial, AdversarialConfig
from dyngen_agents.algorithms.adversarial_watch import AdversarialWatch
from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from dyngen_agents.data.shared_rollout import EnvPlay
from dyngen_agents.distributed.interrupt import StopRequest
from dyngen_agents.inspection.inspect_run import inspect_run
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import TrainConfig, train
from tests.support.envs import Talker
from tests.support.small import small_env, small_lm, small_policy
from tests.support.tiny_mdp import tiny_env, tiny_policy


@pytest.fixture
def human(tmp_path):
    """People write "eeee", after any prompt."""
    path = tmp_path / "human.jsonl"
    path.write_text("".join(f'{{"prompt": "{p}", "reference": "eeee"}}\n' for p in ("ab", "hello", "x") * 20))
    return str(path)


def learner(env, human, **settings):
    policy = small_policy(env, spread=0.1)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    return Adversarial(policy, reference, AdversarialConfig(human=human, **settings))


def met(made, env):
    """The learner after it has met its env, and a batch with what D reads of it."""
    batch = made.experience(EnvPlay(env, env.num_envs, seed=0, actor_seed=1))
    made._read_human_texts(env)
    turns = made.turns(batch)
    return batch, *turns


@pytest.mark.parametrize("user", [None, Talker()], ids=["one turn", "a dialogue"])
def test_paid_at_the_end_it_is_reinforce_with_the_discriminators_reward(human, user):
    """The scores come from the discriminator on rows that are cut out by hand."""
    options = {} if user is None else dict(user=user, max_turns=2, max_context_tokens=64)
    env = small_env(8, **options)
    made = learner(env, human, d_weight=2.0, kl_coef=0.3)
    made.reference = made.common.reference = Reference(small_lm(seed=5).eval(), made.policy.distribution)
    batch, turns, texts = met(made, env)
    rewards = batch.rewards.clone()
    for row, mask in enumerate(batch.completion_mask.tolist()):
        ends = [p for p, mine in enumerate(mask) if mine and mask[p + 1 : p + 2] != [True]]
        for end in ends:
            start = 0 if user is None else max(p for p in range(end + 1) if mask[p] and not mask[p - 1])
            ids = [257 if t == 258 else t for t in batch.tokens[row, start : end + 1].tolist()]
            rewards[row, end] += 2.0 * float(made.judge.discriminator.logits(torch.tensor([ids])).detach().sigmoid())
    paid = dataclasses.replace(batch, rewards=rewards)
    plain = REINFORCE(made.policy, made.reference, REINFORCEConfig(kl_coef=0.3))
    expected = plain.advantages(plain.common.penalised_rewards(paid)[0], paid)
    learned, advantages, _ = made._advantages(batch, turns, texts)
    torch.testing.assert_close(advantages, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(learned.rewards, rewards, atol=1e-6, rtol=0)


def test_with_credit_for_prefixes_a_token_is_paid_what_it_changes(human):
    """Against the discriminator on rows cut after every token, one by one."""
    env = small_env(6)
    made = learner(env, human, d_credit="prefix")
    batch, turns, texts = met(made, env)
    opinions = [
        {p: float(made.judge.score(cut(texts, row, p + 1))) for p in positions}
        for row, positions in enumerate(mask.nonzero().flatten().tolist() for mask in batch.completion_mask)
    ]
    first = sum(next(iter(row.values())) for row in opinions) / len(opinions)
    expected = torch.zeros_like(batch.rewards)
    for row, values in enumerate(opinions):
        before = first
        for p, value in values.items():
            expected[row, p] = value - before
            before = value
    advantages = made._token_advantages(batch, turns, texts)
    torch.testing.assert_close(advantages, expected, atol=1e-5, rtol=0)
    for row, values in enumerate(opinions):  # the last token's opinion is that of the whole text
        assert float(advantages[row].sum()) == pytest.approx(list(values.values())[-1] - first, abs=1e-5)
        assert list(values.values())[-1] == pytest.approx(float(made.judge.score(texts)[row]), abs=1e-6)


def cut(texts, row, end):
    return dataclasses.replace(texts, tokens=texts.tokens[row : row + 1, :end], starts=texts.starts[row : row + 1])


def test_with_forks_values_are_opinions_and_both_is_their_mean(human):
    env = small_env(4)
    opinions = {}
    for credit in ("prefix", "fork", "both"):
        made = learner(env, human, d_credit=credit, d_pretrain=1, d_rollouts=2)
        made.common.updates = 1
        batch, turns, texts = met(made, env)
        opinions[credit] = made._opinions(batch, turns, texts) * batch.completion_mask
        if credit == "fork":
            assert torch.equal(opinions[credit], batch.values)
            assert ((batch.values > 0) & (batch.values < 1))[batch.completion_mask].all()
    torch.testing.assert_close(opinions["both"], (opinions["prefix"] + opinions["fork"]) / 2)


@pytest.mark.parametrize("settings", [dict(), dict(d_credit="prefix", d_lambda=0.5)], ids=["end", "prefix"])
def test_it_learns_to_write_as_people_do(tmp_path, settings):
    """After "a" people write "bcbc" in three of four texts, "cbcb" in one. At first the policy writes any letters."""
    path = tmp_path / "human.jsonl"
    texts = ["bcbc", "bcbc", "bcbc", "cbcb"] * 20
    path.write_text("".join(f'{{"prompt": "a", "reference": "{text}"}}\n' for text in texts))
    env = tiny_env(64, letters="abc", reward=0)
    policy = tiny_policy(env)
    rates = dict(learning_rate=1e-2, warmup_steps=0, kl_coef=0.0, d_learning_rate=1e-2)
    config = AdversarialConfig(human=str(path), d_pretrain=2, **rates, **settings)
    made = Adversarial(policy, Reference(copy.deepcopy(policy.lm), policy.distribution), config)
    shares, metrics = [], []
    for update in range(9):
        batch = made.experience(EnvPlay(env, 64, seed=64 * update, actor_seed=update))
        shares.append(sum(text in texts for text in batch.texts) / len(batch))
        metrics.append(made.update(batch))
    assert sum(shares[:2]) / 2 < 0.1

    assert max(shares) > 0.4  # in the end D learns that these are the policy's, too
    assert metrics[2]["d_accuracy"] > 0.9  # it had learned to tell them apart
    assert "validation" not in metrics[0] and "validation" in metrics[2]


def test_the_policy_waits_while_the_discriminator_learns_first(human):
    env = small_env(8)
    made = learner(env, human, d_pretrain=2, g_steps=2)
    before = copy.deepcopy(made.policy.lm.state_dict())
    turns_of_d = []
    for update in range(6):
        batch = made.experience(EnvPlay(env, 8, seed=8 * update, actor_seed=update))
        metrics = made.update(batch)
        turns_of_d.append("d_loss" in metrics)
        same = all(torch.equal(tensor, before[name]) for name, tensor in made.policy.lm.state_dict().items())
        assert same == (update < 2)
    assert turns_of_d == [True, True, False, True, False, True]


def test_an_update_count_that_leaves_the_policy_nothing_is_refused(human):
    policy = small_policy(small_env(4))
    with pytest.raises(
        ValueError, match="d_credit='fork' asks D about every token, and d_pretrain=0 taught it nothing"
    ):
        AdversarialConfig(d_credit="fork", d_pretrain=0)
    with pytest.raises(ValueError, match="d_pretrain=5 of 5 updates leaves the policy none: raise updates or lower it"):
        Adversarial(policy, Reference(policy.lm, policy.distribution), AdversarialConfig(), total_updates=5)


def test_the_watch_warns_once_of_each_cause_and_names_the_remedy(caplog):
    watch = AdversarialWatch(lambda tokens: tokens)
    sound = dict(d_accuracy=0.7, distinct_2=0.9, entropy=4.0)
    with caplog.at_level(logging.WARNING):
        assert not watch.check(sound)
        assert [watch.check(sound | dict(d_accuracy=0.99)) for _ in range(4)] == [False, False, True, True]
        assert watch.check(sound | dict(distinct_2=0.4)) and watch.check(sound | dict(entropy=1.9))
    first, second, third = (record.getMessage() for record in caplog.records)
    assert "99% of unseen texts" in first and "Lower d_epochs" in first
    assert "distinct-2 is 0.40" in second and "Raise kl_coef" in second
    assert "entropy is 1.90" in third and "best/" in third


def stopping_after(completions, stop):
    """A reward from Python that asks the run to stop after so many completions."""
    left = [completions]

    def vowels(text):
        left[0] -= 1
        if left[0] == 0:
            stop.signal = signal.SIGINT
        return sum(text.count(v) for v in "aeiou") / 10

    return vowels


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_config, human):
    config = AdversarialConfig(
        human=human, d_pretrain=1, d_memory=20, d_credit="both", d_rollouts=2, discriminator="hidden-state",
        kl_target=0.1, kl_horizon=50,
    )  # fmt: skip
    whole = train(tiny_config(updates=4, out="whole"), config, reward=stopping_after(10**9, StopRequest()))
    stop = StopRequest()
    run = train(tiny_config(updates=4, out="parts"), config, reward=stopping_after(20, stop), stop=stop)
    assert open_checkpoint(run).record["iteration"] == 2
    train(TrainConfig(resume=str(run)), reward=stopping_after(10**9, StopRequest()))
    for name in ("model.safetensors", "training.safetensors", "discriminator.safetensors"):
        ours, theirs = load_file(run / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    names = ("d_accuracy", "text_distance", "self_bleu", "policy_loss", "distinct_2")
    assert [[m[n] for n in names] for m in read_metrics(run)] == [[m[n] for n in names] for m in read_metrics(whole)]
    # Saved after updates 2 and 4: the better of the two is kept.
    figures = [m.get("validation") for m in read_metrics(run)]
    assert figures[0] is None
    for folder in (run, whole):
        assert open_checkpoint(folder / "best").record["iteration"] == (2 if figures[1] > figures[3] else 4)
    page = inspect_run(run, 2, reward=stopping_after(10**9, StopRequest()))
    assert [quantity["key"] for quantity in page["quantities"]][:4] == ["reward", "learned", "advantage", "human"]
    # What it has learned pays others.
    paid = train(tiny_config(updates=1, out="paid", reward=f"discriminator({str(run)!r})"))
    assert 0 < read_metrics(paid)[0]["reward_terms"]["discriminator"] < 1


def test_a_run_without_human_texts_says_what_to_give(tiny_config):
    with pytest.raises(ValueError, match=r"0 human-written texts in the prompts of the env.*--human texts\.txt"):
        train(tiny_config(updates=2), AdversarialConfig(d_pretrain=1))
