"""`dyngen record --env ... --policy ... --out D`: episodes to learn from, written to a folder."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from dyngen_agents.cli.hints import command_line, mention_idle_gpu
from dyngen_agents.cli.options import Command
from dyngen_agents.data.offline import record
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.runs.config import TrainConfig, with_absolute_paths
from dyngen_agents.runs.environment import draw_examples, make_env
from dyngen_agents.runs.folder import find_run
from dyngen_agents.runs.from_recording import described
from dyngen_agents.runs.opened_run import open_run
from dyngen_env.envs.options import TaskOptions
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.distribution import SamplingConfig
from dyngen_env.lm.loading.fingerprint import fingerprint
from dyngen_env.lm.loading.models import load_model
from dyngen_env.scoring.people import played_by

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Record(Command):
    """Let a policy play, and keep its episodes to learn from: dyngen train behaviour-cloning --data FOLDER.

    An episode a line: its tokens, what each was paid and its log-prob, what users said and how they rated.
    """

    common = (
        "out", "env", "policy", "episodes", "split", "model", "reward", "prompts", "user", "max_new_tokens", "num_envs",
        "temperature", "seed", "device", "json", "quiet",
    )  # fmt: skip

    out: str
    """The folder to write, which must not hold anything yet."""
    env: str | None = None
    """The registered environment. By default that of the run that plays, else dyngen/Sentiment-v0."""
    policy: str | None = None
    """Who plays: a run, which acts as it was trained to, in its own environment unless told otherwise; or a model. By
    default the environment's model, untrained."""
    episodes: int = 1000
    """How many. No prompt is played again before all have been."""
    split: str = "train"
    """The part of the prompts that is played: "train", "tune" or "eval"."""
    task: TaskOptions = field(default_factory=TaskOptions)
    num_envs: int = 128
    """Rows that are played at a time."""
    temperature: float | None = None
    """Of the sampling. By default the run's own, else 1."""
    seed: int = 0
    """Of the choice of prompts, of the users and of the sampling."""
    device: str | None = None
    """Where models run, such as "cuda". By default the run's own device, else the CPU."""
    json: bool = False
    """Print one JSON object, {"data", "episodes", "tokens", "reward_mean"}, to standard output."""

    def execute(self) -> int:
        """Record, and say what the episodes are worth and how to learn from them."""
        if self.episodes < 1:
            raise ValueError(f"episodes is {self.episodes}, expected at least 1")
        mention_idle_gpu(self.device)
        config = with_absolute_paths(self._config())
        env = make_env(config, min(self.num_envs, self.episodes), self.split)
        policy, name, tokens = self._policy(config, env), self.policy or env.model or "", 0

        def count(written: int) -> None:
            nonlocal tokens
            tokens += written

        folder = Path(self.out).expanduser()
        model = env.model or ""
        who = dict(model=model, fingerprint=fingerprint(model), version=name if name != model else "")
        with played_by(**who, sampling=asdict(config.sampling)):
            returns = record(
                env,
                lambda seed: Actor(policy, seed),
                draw_examples(env, self.episodes, self.seed),
                folder,
                described(config),
                seed=self.seed,
                policy=name,
                on_token=count,
            )
        mean = float(np.mean(returns))
        if self.json:
            print(json.dumps({"data": str(folder), "episodes": len(returns), "tokens": tokens, "reward_mean": mean}))
            return 0
        log.info("%s: %d episodes, %d tokens of %s, mean reward %.3f", folder, len(returns), tokens, name, mean)
        log.info("next: %s", command_line("train", "behaviour-cloning", "--data", str(folder)))
        return 0

    def _config(self) -> TrainConfig:
        """The settings of what is played: where nothing is said, those of the run that plays."""
        if self._is_run():
            base = replace(open_run(self.policy or "").config, data=None)
        else:
            base = TrainConfig(model=self.policy)
        said = {"env": self.env, "device": self.device} | self.task.given()
        if self.temperature is not None:
            said["sampling"] = SamplingConfig(temperature=self.temperature)
        said = {name: value for name, value in said.items() if value is not None}
        return replace(base, num_envs=self.num_envs, seed=self.seed, **said)

    def _policy(self, config: TrainConfig, env: TextGenVectorEnv) -> CausalLMPolicy:
        """Who plays, with what the env allows to be written."""
        distribution = env.token_distribution(config.sampling)
        if not self._is_run():
            name = self.policy or env.model or ""
            return CausalLMPolicy(load_model(name, device=config.device or "cpu"), distribution)
        policy = open_run(self.policy or "", device=config.device).policy
        width = policy.lm.config.vocab_size
        if width < len(env.tokenizer):
            raise ValueError(
                f"run {self.policy} has {width} tokens, the env's model {env.model!r} has {len(env.tokenizer)}: leave "
                "out model, or give one with the run's vocabulary"
            )
        policy.distribution = distribution.to(policy.lm.device)
        return policy

    def _is_run(self) -> bool:
        """Whether a run plays and not just a model."""
        if self.policy is None:
            return False
        try:
            find_run(self.policy)
        except FileNotFoundError:
            if self.policy == "latest":
                raise
            return False
        return True
