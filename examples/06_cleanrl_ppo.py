"""PPO in the style of CleanRL: one file, nothing hidden, on `gym.make_vec`. Two minutes for 50000 steps.

    python examples/06_cleanrl_ppo.py --total-timesteps 50000

It is CleanRL's ppo.py (https://docs.cleanrl.dev/rl-algorithms/ppo/, Huang et al. 2022) but for how the envs are made:
the agent is a small MLP that reads a language model's hidden state and chooses among its k most likely next tokens.
Episodic returns are printed and written for TensorBoard, to runs/.
"""

import time
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn
from torch.distributions.categorical import Categorical
from torch.utils.tensorboard import SummaryWriter

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.wrappers import LMFeatures, TopKActions


@dataclass
class Args:
    seed: int = 1
    env_id: str = "dyngen/Sentiment-v0"
    lm: str = "reviews-lm"
    """the language model that proposes tokens and is read"""
    k: int = 8
    """how many tokens it proposes"""
    total_timesteps: int = 50_000
    learning_rate: float = 1e-3
    num_envs: int = 32
    num_steps: int = 128
    """steps of each env in a rollout"""
    gamma: float = 1.0
    gae_lambda: float = 0.95
    num_minibatches: int = 8
    update_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def layer_init(layer: nn.Linear, std: float = np.sqrt(2)) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, std)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    def __init__(self, envs: gym.vector.VectorEnv):
        super().__init__()
        width = envs.single_observation_space.shape[0]
        self.critic = nn.Sequential(layer_init(nn.Linear(width, 64)), nn.Tanh(), layer_init(nn.Linear(64, 1), std=1.0))
        self.actor = nn.Sequential(
            layer_init(nn.Linear(width, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, envs.single_action_space.n), std=0.01),
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


if __name__ == "__main__":
    args = tyro.cli(Args)
    batch_size = args.num_envs * args.num_steps
    writer = SummaryWriter(f"runs/{args.env_id.replace('/', '-')}__cleanrl_ppo__{args.seed}__{int(time.time())}")
    torch.manual_seed(args.seed)

    envs = gym.make_vec(args.env_id, num_envs=args.num_envs, autoreset_mode="same_step")
    envs = RecordEpisodeStatistics(LMFeatures(TopKActions(envs, args.lm, args.k), args.lm))
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    obs = torch.zeros((args.num_steps, args.num_envs, *envs.single_observation_space.shape))
    actions = torch.zeros((args.num_steps, args.num_envs), dtype=torch.int64)
    logprobs, rewards, dones, values = (torch.zeros((args.num_steps, args.num_envs)) for _ in range(4))

    global_step, start_time = 0, time.time()
    next_obs = torch.as_tensor(envs.reset(seed=args.seed)[0])
    next_done = torch.zeros(args.num_envs)

    for _ in range(max(1, args.total_timesteps // batch_size)):
        episodic_returns = []
        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
            actions[step], logprobs[step], values[step] = action, logprob, value.flatten()

            next_obs, reward, terminations, truncations, infos = envs.step(action.numpy())
            rewards[step] = torch.as_tensor(reward)
            next_obs, next_done = torch.as_tensor(next_obs), torch.as_tensor(terminations | truncations).float()
            if "episode" in infos:
                episodic_returns += infos["episode"]["r"][infos["_episode"]].tolist()

        with torch.no_grad():  # generalized advantage estimation; nobody bootstraps past an end
            next_value = agent.get_value(next_obs).flatten()
            advantages, lastgaelam = torch.zeros_like(rewards), 0
            for t in reversed(range(args.num_steps)):
                last = t == args.num_steps - 1
                nextnonterminal = 1.0 - (next_done if last else dones[t + 1])
                nextvalues = next_value if last else values[t + 1]
                delta = rewards[t] + args.gamma * nextvalues * nextnonterminal - values[t]
                advantages[t] = lastgaelam = delta + args.gamma * args.gae_lambda * nextnonterminal * lastgaelam
            returns = advantages + values

        b_obs = obs.flatten(0, 1)
        b_actions, b_logprobs, b_advantages, b_returns = (x.flatten() for x in (actions, logprobs, advantages, returns))
        for _ in range(args.update_epochs):
            for mb_inds in torch.randperm(batch_size).chunk(args.num_minibatches):
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb_inds], b_actions[mb_inds])
                ratio = (newlogprob - b_logprobs[mb_inds]).exp()
                mb_advantages = b_advantages[mb_inds]
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)
                pg_loss1 = -mb_advantages * ratio
                pg_loss2 = -mb_advantages * ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = torch.max(pg_loss1, pg_loss2).mean()
                v_loss = 0.5 * ((newvalue.flatten() - b_returns[mb_inds]) ** 2).mean()
                loss = pg_loss - args.ent_coef * entropy.mean() + args.vf_coef * v_loss

                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        sps = int(global_step / (time.time() - start_time))
        episodic_return = float(np.mean(episodic_returns)) if episodic_returns else float("nan")
        print(f"global_step={global_step}, episodic_return={episodic_return:.3f}, SPS={sps}")
        writer.add_scalar("charts/episodic_return", episodic_return, global_step)
        writer.add_scalar("losses/value_loss", v_loss.item(), global_step)
        writer.add_scalar("losses/policy_loss", pg_loss.item(), global_step)
        writer.add_scalar("losses/entropy", entropy.mean().item(), global_step)
        writer.add_scalar("charts/SPS", sps, global_step)

    envs.close()
    writer.close()
