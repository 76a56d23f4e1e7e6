"""What the rest of the package knows of a learning algorithm: its settings, its experience, its updates, its state.

To add an algorithm, write a file with a frozen dataclass of settings and a class that satisfies `Algorithm`, and name
it in `registry.py`. The learner, the checkpoint, the inspection page, the reward bench and the command then know it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from dyngen_agents.data.episode_store import EpisodeStore
from dyngen_agents.data.rollout import Act
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.distributed.processes import SINGLE_PROCESS, Processes
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.policy.reference import Reference
from dyngen_env.envs.vector_env import TextGenVectorEnv


class AlgorithmConfig(Protocol):
    """The hyper-parameters of an algorithm: a frozen dataclass, every field with a default and a line of explanation.

    The command shows the class's docstring as the help of `dyngen train <name>`, and the fields as its options.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class TensorFile:
    """Tensors by name with texts about them: what a safetensors file holds."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AlgorithmState:
    """What a checkpoint must hold of an algorithm so that it goes on as if it had never stopped.

    Args:
        tensors: by name. values: by name, anything that JSON can hold.
        files: by name, such as "discriminator.safetensors": what others may use by itself, so that it gets a file of
            its own beside the model.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, TensorFile] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, by the rest of their names."""
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Quantity:
    """A number that every token of a completion has, as the page of `dyngen inspect` shows it.

    Args:
        values: (N, L), aligned with the batch; they mean something where the completion mask is True.
        about: one sentence without its full stop. unit: such as "nats".
        signed: whether zero is the middle of its scale.
    """

    key: str
    label: str
    about: str
    values: Tensor
    unit: str = ""
    signed: bool = True


@dataclass(frozen=True)
class Diagnostics:
    """What an algorithm makes of a batch, token by token, and sentences that a reader of these numbers should know."""

    quantities: Sequence[Quantity]
    notes: Sequence[str] = ()


class Play(Protocol):
    """Lets a policy play whole episodes. Who calls the algorithm decides where: env, number of episodes, seeds."""

    @property
    def env(self) -> TextGenVectorEnv:
        """The rows that it plays in: an algorithm may ask for its tokenizer, its task and its state."""

    def learned_rewards(self, batch: Trajectories) -> Tensor:
        """The rewards (N, L) of episodes in this env as `update` is given them: scaled, if the run scales them."""

    def __call__(
        self,
        actor: Callable[[int], Act],
        *,
        group_size: int = 1,
        bootstrap: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Trajectories:
        """The episodes.

        Args:
            actor: gives the behaviour policy of a seed.
            group_size: every example is played so many times, in adjacent episodes.
            bootstrap: V (R,) of the last states (tokens (R, L), lengths (R,)) of episodes that were truncated and not
                terminated; None means 0.
        """


class Algorithm(Protocol):
    """A learning algorithm. `PPO`, `REINFORCE` and `GRPO` are examples.

    Args:
        policy: what learns.
        reference: the frozen model that it may be held to.
        config: the hyper-parameters, a `Config`; None is its defaults.
        total_updates: calls of `update` in the whole run, for annealing; 0 does not anneal.
        episodes: episodes of one update, of all processes.
        seed: of whatever the algorithm draws, such as the order of minibatches.
        processes: share the work of an update; each is given the whole batch.

    Raises:
        ValueError: settings that cannot work together.
    """

    Config: ClassVar[type]

    def __init__(
        self,
        policy: CausalLMPolicy,
        reference: Reference,
        config: Any = None,
        *,
        total_updates: int = 0,
        episodes: int = 0,
        seed: int = 0,
        processes: Processes = SINGLE_PROCESS,
    ): ...

    def actor(self, seed: int) -> Act:
        """The policy at work: what it is in rollouts."""

    def experience(self, play: Play) -> Trajectories:
        """What the next `update` learns from: episodes that `play` plays with the policy, or recorded ones."""

    def update(self, batch: Trajectories) -> dict[str, float]:
        """Learn from a batch, and return metrics.

        They hold at least what progress and learning curve show: "kl_per_token" and "entropy", in nats. If there is a
        "validation", the checkpoint where it is highest is kept beside the last.

        Raises:
            FloatingPointError: a loss or a gradient is not finite.
        """

    def state(self) -> AlgorithmState:
        """What a checkpoint must hold, beside the language model's own weights."""

    def load_state(self, state: AlgorithmState, *, for_training: bool = True) -> None:
        """The inverse of `state`.

        Args:
            for_training: False if no update will follow: what only updates need may then be left out.
        """

    def diagnostics(self, batch: Trajectories) -> Diagnostics:
        """What `update` would make of a batch, per token: advantages, values, ... Changes nothing."""


def acts_otherwise(kind: type[Algorithm]) -> bool:
    """Whether an algorithm's policy acts by more than the language model: then the class has a property `acting`, the
    `CausalLMPolicy` that evaluation, samples and inspection use. Others act by the policy that they were given."""
    return hasattr(kind, "acting")


def acting_policy(algorithm: Algorithm, policy: CausalLMPolicy) -> CausalLMPolicy:
    """The policy of an algorithm as it acts. policy: the one that the algorithm was given."""
    acting: CausalLMPolicy = getattr(algorithm, "acting", policy)
    return acting


@runtime_checkable
class LearnsFromRecorded(Protocol):
    """An algorithm that can learn from recorded episodes: what `--data` asks for. Others refuse that option."""

    def read(self, recorded: EpisodeStore | None) -> None:
        """Called once, before the first `experience` and before `load_state`.

        `experience` then need not play. Where a run is only looked at, this is not called, and `experience` plays.

        Args:
            recorded: the episodes; None if the run has none.

        Raises:
            ValueError: nothing can be learned from them, or from none.
        """
