"""GRPO against TRL's GRPOTrainer in wall-clock: `python -m benchmarks.grpo_trl [--json PATH]`, where TRL is importable.

Both teach reviews-lm to please readers: prompts of dyngen/Sentiment-v0, reward by VADER's sentiment, 128 completions of
at most 32 tokens in groups of 8, two passes over them in minibatches of 64, AdamW with the same learning rate that
rises over ten steps and falls linearly, the same clipping, β, KL in the loss by k3, and threads. TRL generates with
transformers, and is helped to count GPT-2's positions from the first token. Measured from the first rollout on: neither
importing nor loading is in it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

import dyngen_env  # noqa: F401  registers the ids
from benchmarks.harness import Row, main
from dyngen_agents.algorithms.grpo import GRPOConfig
from dyngen_agents.runs.config import TrainConfig
from dyngen_agents.runs.environment import make_env
from dyngen_agents.runs.learner import Learner
from dyngen_agents.trl import prompt_dataset
from dyngen_agents.trl.positions import count_from_first_token
from dyngen_env.lm.loading.models import load_model, load_tokenizer
from dyngen_env.scoring.sentiment import vader

MODEL, COMPLETIONS = "reviews-lm", 128


@dataclass
class Race:
    """One run towards a goal: told the rewards of each batch of completions, it knows when to stop.

    Args:
        goal: a mean reward. window: of how many completions, the last ones. limit: seconds.
    """

    goal: float
    window: int
    limit: float
    began: float = field(default_factory=time.perf_counter)
    cpu_began: float = field(default_factory=time.process_time)
    completions: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reached: bool = False

    def __post_init__(self) -> None:
        self.last: deque[float] = deque(maxlen=self.window)

    def add(self, rewards: list[float]) -> None:
        """The rewards of the next completions, in the order in which they were written."""
        if self.over:
            return
        self.last.extend(rewards)
        self.completions += len(rewards)
        self.seconds = time.perf_counter() - self.began
        self.cpu_seconds = time.process_time() - self.cpu_began
        self.reached = len(self.last) == self.window and self.mean >= self.goal

    @property
    def mean(self) -> float:
        """Of the last completions."""
        return statistics.fmean(self.last) if self.last else 0.0

    @property
    def over(self) -> bool:
        return self.reached or self.seconds >= self.limit


def ours(race: Callable[[], Race], config: TrainConfig, algorithm: GRPOConfig) -> Race:
    """`dyngen train grpo`, without its checkpoints and pictures."""
    learner = Learner(config, algorithm)
    run = race()
    while learner.iteration < config.updates and not run.over:
        batch = learner.play()
        run.add(batch.episode_returns.tolist())
        if not run.over:
            learner.learn(batch)
    return run


def theirs(race: Callable[[], Race], config: TrainConfig, algorithm: GRPOConfig) -> Race:
    """TRL's GRPOTrainer with the same numbers."""
    from transformers import TrainerCallback

    run: Race | None = None

    def reward(completions: list[str], **_: Any) -> list[float]:
        rewards = [vader(text) for text in completions]
        run.add(rewards)  # type: ignore[union-attr]  # it is there before the first rollout
        return rewards

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            nonlocal run
            run = race()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = run.over  # type: ignore[union-attr]

    env = make_env(config, 1, "train")
    trainer = trl_trainer(
        load_model(MODEL, fresh=True),
        load_tokenizer(MODEL),
        prompt_dataset(env, config.updates * COMPLETIONS // algorithm.group_size, seed=config.seed),
        reward,
        algorithm,
        completions=COMPLETIONS,
        updates=config.updates,
        max_new_tokens=env.max_new_tokens,
        seed=config.seed,
    )
    trainer.add_callback(Clock())
    trainer.train()
    assert run is not None
    return run


def trl_trainer(
    lm: Any,
    tokenizer: Any,
    prompts: Any,
    reward: Callable[..., list[float]],
    algorithm: GRPOConfig,
    *,
    completions: int,
    updates: int,
    max_new_tokens: int,
    seed: int = 0,
    device: str = "cpu",
) -> Any:
    """A GRPOTrainer that does what our GRPO does with these settings, by `updates` rollouts of so many completions."""
    from transformers import PrinterCallback
    from trl import GRPOConfig as TRLConfig
    from trl import GRPOTrainer

    minibatches = completions // algorithm.minibatch_size
    trainer = GRPOTrainer(
        model=lm,
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=prompts,
        args=TRLConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=updates * algorithm.epochs * minibatches,
            per_device_train_batch_size=algorithm.minibatch_size,
            steps_per_generation=minibatches,
            num_iterations=algorithm.epochs,
            num_generations=algorithm.group_size,
            max_completion_length=max_new_tokens,
            learning_rate=algorithm.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=algorithm.warmup_steps,
            adam_epsilon=1e-5,
            max_grad_norm=algorithm.max_grad_norm,
            epsilon=algorithm.clip_coef,
            epsilon_high=algorithm.clip_coef_high,
            beta=algorithm.kl_coef,
            loss_type="bnpo",  # the mean over the tokens of a minibatch
            disable_dropout=True,
            seed=seed,
            use_cpu=device == "cpu",
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    for model in (trainer.model, trainer.ref_model):
        if model is not None:
            count_from_first_token(model)
    return trainer


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    """Seconds and completions until the goal, medians over the seeds; each seed's two runs follow each other."""
    torch.set_num_threads(arguments.threads)
    algorithm = GRPOConfig(
        kl_coef=arguments.kl_coef, kl_estimator=arguments.kl_estimator, minibatch_size=64, group_size=8, epochs=2
    )
    pairs = []
    for seed in range(arguments.seeds):
        config = TrainConfig(episodes=COMPLETIONS, num_envs=COMPLETIONS, updates=arguments.updates, seed=seed)

        def race() -> Race:
            return Race(arguments.goal, arguments.window, 60 * arguments.max_minutes)

        pairs.append((ours(race, config, algorithm), theirs(race, config, algorithm)))
        for name, run in zip(("ours", "TRL"), pairs[-1], strict=True):
            end = "reached" if run.reached else "NOT reached"
            print(
                f"seed {seed}, {name}: {end} a mean of {arguments.goal} in {run.seconds:.1f} s, of CPU "
                f"{run.cpu_seconds:.1f} s, by {run.completions} completions ({run.completions / run.seconds:.1f}/s); "
                f"last mean {run.mean:.3f}",
                flush=True,
            )
    what = f"GRPO to a mean reward of {arguments.goal}, β {arguments.kl_coef}, {arguments.seeds} seed(s)"
    if not all(run.reached for pair in pairs for run in pair):
        what += ", NOT reached by all"
    # Seconds of CPU, by all threads: what else runs on the machine changes them least.
    for unit, value in (
        ("s", lambda run: run.seconds),
        ("CPU s", lambda run: run.cpu_seconds),
        ("completions", lambda run: float(run.completions)),
    ):
        our, their = (statistics.median(value(run) for run in runs) for runs in zip(*pairs, strict=True))
        yield dict(measure=what, peer="TRL GRPOTrainer", ours=our, theirs=their, ratio=our / their, unit=unit)


def options(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--goal", type=float, default=0.7, help="mean reward to reach")
    parser.add_argument("--window", type=int, default=2 * COMPLETIONS, help="over so many last completions")
    parser.add_argument("--updates", type=int, default=60, help="rollouts of 128 completions, at most")
    parser.add_argument("--max-minutes", type=float, default=15.0, help="for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kl-coef", type=float, default=GRPOConfig.kl_coef)
    parser.add_argument("--kl-estimator", choices=("k1", "k3"), default="k3", help="ours; TRL has k3")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


if __name__ == "__main__":
    main(__doc__, measure, options)
