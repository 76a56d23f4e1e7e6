"""A run as those see it who evaluate, inspect or use what it has learned: `open_run(path)`.

Training goes on elsewhere, in `Learner`; nothing here changes a run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dyngen_agents.algorithms.algorithm import (
    Algorithm,
    AlgorithmConfig,
    AlgorithmState,
    acting_policy,
    acts_otherwise,
)
from dyngen_agents.algorithms.registry import ALGORITHMS, actor_for
from dyngen_agents.data.rollout import Act
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_agents.runs.checkpoint import open_checkpoint
from dyngen_agents.runs.config import TrainConfig, config_from, train_config_from
from dyngen_agents.runs.environment import make_env
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.from_python import CustomReward, FromPython
from dyngen_agents.runs.models import check_base, policy_and_reference
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer
from dyngen_env.users import User

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class OpenedRun:
    """The parts of a run. Each is built when it is first asked for, so that nobody waits for what they do not use.

    Args:
        folder: the run's. record: the content of its `run.json`.
        config: its settings, on the device that it was opened on.
        split, num_envs, given: of the env, see `open_run`.
        state: of the algorithm; None if it was not wanted.
    """

    folder: Path
    record: dict[str, Any]
    config: TrainConfig
    split: str
    num_envs: int
    given: FromPython
    state: AlgorithmState | None

    @cached_property
    def env(self) -> TextGenVectorEnv:
        """The run's environment.

        Raises:
            ValueError: its reward or user came from Python and was not given again, or the base model, whose tokenizer
                it has, has changed since the run began.
        """
        self.given.check_against(self.record)
        check_base(self.record)
        return make_env(self.config, self.num_envs, self.split, self.given.reward, self.given.user)

    @cached_property
    def lm(self) -> PreTrainedModel:
        """The trained language model."""
        # An algorithm's optimizer wants parameters with gradients, which the shared copy does not have.
        return self._load(str(self.folder), fresh=self.state is not None)

    @cached_property
    def untrained_lm(self) -> PreTrainedModel:
        """The language model that the training began with. Raises ValueError if it has changed since."""
        check_base(self.record)
        return self._load(self.record["model"])

    @cached_property
    def tokenizer(self) -> HFTokenizer:
        """The model's tokenizer, as an env uses it."""
        return HFTokenizer(load_tokenizer(str(self.folder)))

    @property
    def banned(self) -> Sequence[str]:
        """The words that the env lets nobody write."""
        # Runs of version 0.1 know only what was asked for, not what the env says by itself.
        return self.record.get("banned", self.record["train"].get("banned") or ())

    @property
    def policy(self) -> CausalLMPolicy:
        """The trained policy, as it acts: by the language model alone, or as its algorithm has it act (`acting`).

        Its value head is of use only after `algorithm` was asked for, which restores it.
        """
        return acting_policy(self.algorithm, self._policies[0]) if self._acts_otherwise else self._policies[0]

    @property
    def engine(self) -> Engine:
        """Next logits as the trained policy has them before what the env forbids, for `lm.decoding.generate`."""
        return self.policy.engine if self._acts_otherwise else Engine(self.lm)

    @property
    def reference(self) -> Reference:
        """The untrained model under the policy's distribution."""
        return self._policies[1]

    @cached_property
    def untrained(self) -> CausalLMPolicy:
        """The policy as it was before training."""
        return CausalLMPolicy(self.untrained_lm, self.reference.distribution)

    def actor(self, seed: int) -> Act:
        """The trained policy at work, as it was in training."""
        return actor_for(self._algorithm_config, self.policy, seed)

    def untrained_actor(self, seed: int) -> Act:
        """The untrained policy at work in the same way."""
        return actor_for(self._algorithm_config, self.untrained, seed)

    @property
    def _algorithm_config(self) -> AlgorithmConfig:
        return config_from(ALGORITHMS[self.record["algorithm"]].Config, self.record["algorithm_config"])

    @cached_property
    def algorithm(self) -> Algorithm:
        """The algorithm in the state it was saved in, but for what only more updates would need.

        Raises:
            ValueError: the run was opened without it.
        """
        if self.state is None:
            raise ValueError(f"{self.folder} was opened without its algorithm: open it with with_algorithm=True")
        kind = ALGORITHMS[self.record["algorithm"]]
        algorithm = kind(self._policies[0], self.reference, self._algorithm_config)
        algorithm.load_state(self.state, for_training=False)
        return algorithm

    @property
    def _acts_otherwise(self) -> bool:
        return acts_otherwise(ALGORITHMS[self.record["algorithm"]])

    @cached_property
    def _policies(self) -> tuple[CausalLMPolicy, Reference]:
        return policy_and_reference(self.env, self.lm, self.untrained_lm, self.config.sampling)

    def _load(self, name: str, fresh: bool = False) -> PreTrainedModel:
        dtype = getattr(torch, self.config.dtype)
        return load_model(name, device=self.config.device or "cpu", dtype=dtype, fresh=fresh)


def open_run(
    run: str | Path,
    *,
    split: str = "eval",
    num_envs: int | None = None,
    device: str | None = None,
    reward: CustomReward = None,
    user: User | None = None,
    with_algorithm: bool = False,
) -> OpenedRun:
    """Open a run to play with its policy; the files that this takes are verified.

    Args:
        run: a folder, a name in runs/, or "latest".
        split: the part of its prompts that the env draws from: "train", "tune" or "eval".
        num_envs: rows of the env, at most the run's own; None is the run's own.
        device: where models run; None is the run's own.
        reward: the reward from Python that the run was trained with, if it was; or any other, to see what that pays.
        user: the same for the user.
        with_algorithm: whether `algorithm` is wanted, too, which has a file of its own. It always is where the policy
            acts by it.

    Raises:
        FileNotFoundError: no such run.
        ValueError: it is damaged, or another version's.
    """
    checkpoint = open_checkpoint(find_run(run), training=with_algorithm)
    if not with_algorithm and acts_otherwise(ALGORITHMS[checkpoint.record["algorithm"]]):
        with_algorithm, checkpoint = True, open_checkpoint(checkpoint.folder)
    config = train_config_from(checkpoint.record["train"])
    rows = config.num_envs if num_envs is None else min(num_envs, config.num_envs)
    return OpenedRun(
        folder=checkpoint.folder,
        record=checkpoint.record,
        config=replace(config, device=device or config.device),
        split=split,
        num_envs=rows,
        given=FromPython(reward, user),
        state=checkpoint.algorithm_state() if with_algorithm else None,
    )
