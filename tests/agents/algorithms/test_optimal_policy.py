"""Learners find the known optimum of tiny MDPs, in every kind of ending: π* ∝ π_ref exp(R/β).

Maximising E[R] - β KL(π‖π_ref) over distributions of whole episodes y has the solution

    π*(y) = π_ref(y) exp(R(y)/β) / Z                       (Ziegler et al. 2019, sec. 2; Rafailov et al. 2023, eq. 4)

in an MDP whose only chance is the policy's. The MDPs here have so few episodes that all of them can be gone through.
"""

import copy
import zlib

import pytest
import torch

from dyngen_agents.algorithms.dpo import DPO, DPOConfig
from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
from dyngen_agents.algorithms.ppo import PPO, PPOConfig
from dyngen_agents.algorithms.reinforce import REINFORCE, REINFORCEConfig
from dyngen_agents.algorithms.vine import Vine, VineConfig
from dyngen_agents.data.shared_rollout import EnvPlay
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.types import Feedback
from tests.support.envs import Talker
from tests.support.tiny_mdp import Episodes, all_episodes, tiny_env, tiny_policy

BETA = 0.3


def taste(text: str) -> float:
    """Anything from 0 to 1, another number for each text."""
    return zlib.crc32(text.encode()) / 2**32


USER = Talker((Feedback("b"), Feedback("a")))
ONE_TURN = "one turn, ended by EOS or by the budget"
MDPS = {  # a name: the options of the env, and what else the learner needs
    ONE_TURN: dict(max_new_tokens=2),
    "cut by the budget": dict(max_new_tokens=2, length_limit="truncate"),
    "a scripted user": dict(max_new_tokens=1, max_turns=2, user=USER),
    "a context that the user fills": dict(max_new_tokens=2, max_turns=5, user=USER, max_context_tokens=8),
    "a turn that fills the context": dict(max_new_tokens=3, max_turns=2, user=USER, max_context_tokens=9, updates=32),
    "temperature 0.6": dict(max_new_tokens=2, sampling=SamplingConfig(temperature=0.6), updates=32),
}
FAST = dict(warmup_steps=2, kl_coef=BETA)
CLIPPED = dict(FAST, learning_rate=3e-3, minibatch_size=64, epochs=4)
LEARNERS = {  # a name: the learner, its updates, the episodes of each
    "ppo": (PPO, PPOConfig(**CLIPPED), 24, 128),
    "ppo, exact KL": (PPO, PPOConfig(**CLIPPED, kl_estimator="exact"), 24, 128),
    "grpo": (GRPO, GRPOConfig(**CLIPPED, group_size=8), 24, 128),
    "reinforce": (REINFORCE, REINFORCEConfig(**FAST, learning_rate=2e-2), 45, 128),
    "vine": (Vine, VineConfig(**(CLIPPED | dict(learning_rate=5e-3)), forks=2, fork_every=1), 16, 64),
    "dpo": (DPO, DPOConfig(**FAST, learning_rate=3e-3, group_size=4, epochs=4, loss="squared"), 24, 128),
}


def optimum(ref_logprobs: torch.Tensor, episodes: Episodes) -> torch.Tensor:
    """log π* (N,) of all N episodes."""
    return torch.log_softmax(ref_logprobs + episodes.returns / BETA, 0)


def learned(name: str, **options) -> tuple[float, float]:
    """Train; the divergence of the policy from the optimum before and after, in nats per episode."""
    kind, config, updates, count = LEARNERS[name]
    sampling, updates = options.pop("sampling", None), options.pop("updates", updates)
    env = tiny_env(count, reward=taste, **options)
    policy = tiny_policy(env, sampling=sampling)
    reference = Reference(copy.deepcopy(policy.lm), policy.distribution)
    learner = kind(policy, reference, config, total_updates=updates, episodes=count)
    episodes = all_episodes(reward=taste, **options)

    def logprobs(model) -> torch.Tensor:
        with torch.no_grad():
            return model(episodes.tokens, episodes.completion_mask).double().sum(1)

    best = optimum(logprobs(reference.logprobs), episodes)

    def divergence() -> float:
        ours = logprobs(lambda t, m: policy.evaluate(t, m).logprobs)
        assert float(ours.exp().sum()) == pytest.approx(1, abs=1e-4)  # every episode has been gone through
        return float((ours.exp() * (ours - best)).sum())

    before = divergence()
    for update in range(updates):
        learner.update(learner.experience(EnvPlay(env, count, seed=10**4 * update, actor_seed=10**4 * update)))
    return before, divergence()


@pytest.mark.parametrize(
    ("name", "mdp"), [("ppo", mdp) for mdp in MDPS] + [(n, ONE_TURN) for n in LEARNERS if n != "ppo"]
)
def test_the_optimum_is_found(name, mdp):
    before, after = learned(name, **MDPS[mdp])
    assert before > 0.3, "there is something to learn"
    assert after < 0.02


GRADIENTS = {
    "reinforce": (REINFORCE, REINFORCEConfig(baseline="none", kl_coef=BETA)),
    "batch": (REINFORCE, REINFORCEConfig(baseline="batch", kl_coef=BETA)),
    "rloo": (REINFORCE, REINFORCEConfig(baseline="rloo", group_size=8, kl_coef=BETA)),
    "ppo": (
        PPO,
        PPOConfig(
            **(CLIPPED | dict(minibatch_size=10**6, epochs=1)), gae_lambda=1.0, vf_coef=0.0, whiten_advantages=False
        ),
    ),
    "ppo, exact KL": (
        PPO,
        PPOConfig(
            **(CLIPPED | dict(minibatch_size=10**6, epochs=1)),
            gae_lambda=1.0,
            vf_coef=0.0,
            whiten_advantages=False,
            kl_estimator="exact",
        ),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_that_of_the_objective_by_enumeration(name):
    """∇ Σ_y π(y) (R(y) - β log π(y)/π_ref(y)), against the first step's, from 2,048 episodes."""
    (kind, config), mdp, count = GRADIENTS[name], "a scripted user", 2048
    env, episodes = tiny_env(1024, reward=taste, **MDPS[mdp]), all_episodes(reward=taste, **MDPS[mdp])
    policy, other = tiny_policy(env), tiny_policy(env, seed=1)
    reference = Reference(other.lm, other.distribution)
    ours = policy.evaluate(episodes.tokens, episodes.completion_mask).logprobs.sum(1)
    ref = reference.logprobs(episodes.tokens, episodes.completion_mask).sum(1)
    objective = (ours.exp() * (episodes.returns.float() - BETA * (ours - ref))).sum()
    weights = list(policy.lm.parameters())
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(objective, weights)])

    learner = kind(policy, reference, config, episodes=count)
    found = []

    def keep() -> float:
        found.append(torch.cat([p.grad.flatten() for p in weights]))
        learner.common.optimizer.adam.zero_grad(set_to_none=True)
        return 0.0

    learner.common.optimizer.step = keep
    batch = learner.experience(EnvPlay(env, count, seed=0, actor_seed=0))
    learner.update(batch)
    gradient = -found[0] * int(batch.completion_mask.sum()) / len(batch)  # the loss is a mean over tokens
    assert float((gradient - expected).norm() / expected.norm()) < 0.15
