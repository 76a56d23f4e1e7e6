"""The environments in TRL's GRPOTrainer: `EnvRollout` plays them token by token, `TextEnvironment` by tool calls.

Neither needs vLLM. This package does not import TRL; the script that makes the trainer does, and needs
`pip install 'trl>=1.10,<2'`.
"""

from dyngen_agents.trl.environment import TextEnvironment
from dyngen_agents.trl.prompts import prompt_dataset
from dyngen_agents.trl.rollout import EnvRollout, env_reward

__all__ = ["EnvRollout", "TextEnvironment", "env_reward", "prompt_dataset"]
