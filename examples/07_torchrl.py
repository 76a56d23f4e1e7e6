"""TorchRL's PPO, a small MLP, chooses among the 8 most likely next words of a language model. About a minute.

    python examples/07_torchrl.py --steps 49152

TorchRL's own `GymWrapper` takes batched envs as they are. Use autoreset mode "disabled": with "same_step" it skips
episodes where all rows end at once, and writes into observations, which output="torch" does not allow. A single env is
`GymEnv("dyngen/Sentiment-v0", categorical_action_encoding=True)`. The mean reward rises from 0.28 to about 0.5.
"""

import argparse

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import Compose, GymWrapper, InitTracker, RewardSum, TransformedEnv
from torchrl.envs.utils import check_env_specs
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import dyngen_env  # noqa: F401  registers the ids
from dyngen_env.wrappers import LMFeatures, TopKActions

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=49_152, help="tokens to learn from")
steps = parser.parse_args().steps
torch.manual_seed(0)

envs = gym.make_vec("dyngen/Sentiment-v0", num_envs=32, autoreset_mode="disabled")
envs = LMFeatures(TopKActions(envs, "reviews-lm", k=8), "reviews-lm")
env = TransformedEnv(GymWrapper(envs, categorical_action_encoding=True), Compose(InitTracker(), RewardSum()))
check_env_specs(env)


def mlp(outputs: int) -> nn.Module:
    return nn.Sequential(nn.LazyLinear(64), nn.Tanh(), nn.Linear(64, outputs))


net = TensorDictModule(mlp(8), in_keys=["observation"], out_keys=["logits"])
actor = ProbabilisticActor(net, in_keys=["logits"], distribution_class=Categorical, return_log_prob=True)
critic = ValueOperator(mlp(1), in_keys=["observation"])
actor(env.reset()), critic(env.reset())  # the lazy layers learn their width

advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic, average_gae=True)
loss_of = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01, critic_coeff=0.5)
optimizer = torch.optim.Adam(loss_of.parameters(), lr=1e-3)
for data in Collector(env, actor, frames_per_batch=min(4096, steps), total_frames=steps):  # (32, T)
    advantage(data)
    for _ in range(4):
        for batch in data.reshape(-1)[torch.randperm(data.numel())].split(512):
            losses = loss_of(batch)
            optimizer.zero_grad()
            sum(value for key, value in losses.items() if key.startswith("loss_")).backward()
            nn.utils.clip_grad_norm_(loss_of.parameters(), 0.5)
            optimizer.step()
    ended = data["next", "done"]
    print(f"{int(ended.sum())} texts, mean reward {data['next', 'episode_reward'][ended].mean():+.2f}")
