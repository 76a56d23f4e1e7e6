"""What choosing the best of n completions of a model gives, without training it: the line that learners must beat.

Choosing the best of n samples moves a model by at most log n − (n − 1)/n nats (Beirami et al. 2024 show that this
well-known figure is an upper bound), and close to as little as the reward can be had for (Gao et al. 2023; Yang et al.
2024). A learner that stands below this line has paid nats for nothing.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from dyngen_agents.data.rollout import collect
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.runs.environment import draw_examples
from dyngen_env.envs.vector_env import TextGenVectorEnv


def best_of_n_kl(n: int) -> float:
    """The most that the best of n samples can be away from the model that wrote them: log n − (n − 1)/n, nats.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1 sample")
    return math.log(n) - (n - 1) / n


def best_of_n_rewards(rewards: Tensor, ns: tuple[int, ...]) -> dict[int, float]:
    """The expected reward of the best of n completions of a prompt, for each n, as a mean over prompts.

    Of m completions there are m choose n choices of n, and the i-th smallest is the best of i−1 choose n−1 of them: the
    weighted mean over all choices has no bias, and less spread than the best of one choice.

    Args:
        rewards: (P, m), m completions of each of P prompts. ns: numbers of completions, each from 1 to m.

    Raises:
        ValueError: an n that is not from 1 to m.
    """
    m = rewards.shape[1]
    if any(not 1 <= n <= m for n in ns):
        raise ValueError(f"n is one of {ns}, expected numbers from 1 to the {m} completions of each prompt")
    ordered = rewards.double().sort(1).values
    out = {}
    for n in ns:
        weights = [math.comb(i, n - 1) / math.comb(m, n) for i in range(m)]
        out[n] = float((ordered @ ordered.new_tensor(weights)).mean())
    return out


def best_of_n(
    env: TextGenVectorEnv, policy: CausalLMPolicy, most: int, prompts: int, seed: int = 0
) -> dict[int, dict[str, float]]:
    """Play `prompts` examples of an env `most` times each, and tell what the best of n = 1, 2, 4 ... completions earns.

    Args:
        env: as for `collect`, without a user: the best of several dialogues would choose the user's words, too.

    Returns:
        by n: "reward", and "kl", the bound of `best_of_n_kl`.
    """
    examples = draw_examples(env, prompts, seed)
    repeated = [example for example in examples for _ in range(most)]
    batch = collect(env, Actor(policy, seed), len(repeated), examples=repeated, seed=seed)
    ns = tuple(2**k for k in range(most.bit_length()) if 2**k <= most)
    rewards = best_of_n_rewards(batch.episode_returns.view(prompts, most), ns)
    return {n: {"reward": reward, "kl": best_of_n_kl(n)} for n, reward in rewards.items()}


def nats_of_reward(line: dict[int, dict[str, float]], reward: float) -> float | None:
    """At how many nats the line of `best_of_n` reaches a reward, read off between its points; None above its last."""
    points = [(point["reward"], point["kl"]) for _, point in sorted(line.items())]
    if reward <= points[0][0]:
        return 0.0
    for (low, near), (high, far) in itertools.pairwise(points):
        if reward <= high:
            return near + (far - near) * (reward - low) / (high - low)
    return None


def standing(line: dict[int, dict[str, float]], reward: float, kl: float) -> str:
    """One sentence on a trained policy of that reward and KL per episode (nats), beside the untrained best of n."""
    most = max(line)
    untrained, best = line[min(line)]["reward"], line[most]
    text = (
        f"reward {reward:.3f} for {kl:.2f} nats an episode; untrained {untrained:.3f}, its best of {most} "
        f"{best['reward']:.3f} for at most {best['kl']:.2f}"
    )
    if best["reward"] > untrained:
        text += f": {(reward - untrained) / (best['reward'] - untrained):.0%} of the way"
    nats = nats_of_reward(line, reward)
    if nats is None:
        return f"{text}, above that line"
    return f"{text}; the best of n has the same reward for {nats:.2f} nats"
