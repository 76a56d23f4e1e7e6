"""A whole GRPO iteration against TRL's: `python -m benchmarks.train_step [--json PATH]`, where TRL is importable.

TRL has dependencies of its own: `make bench-trl` installs it in an environment beside this project's and runs this.
With `--device cuda` it measures a PPO update of a larger model instead, for which TRL is not needed: see `gpu_update`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from benchmarks import gpu_update, setting
from benchmarks.grpo_trl import trl_trainer
from benchmarks.harness import Row, compare, main
from dyngen_agents import PPO, CausalLMPolicy, PPOConfig, Reference, collect
from dyngen_agents.algorithms.grpo import GRPO, GRPOConfig
from dyngen_agents.data.shared_rollout import EnvPlay

BATCH, EPOCHS = 64, 4


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    yield grpo_iteration(min(3, arguments.repeats), arguments.device)
    yield update_alone(arguments.repeats, arguments.device)


def grpo_iteration(repeats: int, device: str) -> Row:
    """Rollout, reference, rewards, 4 epochs on 64 episodes of 16 + 48 tokens, in completion tokens per second."""
    config = GRPOConfig(epochs=EPOCHS, minibatch_size=BATCH)
    env = setting.env(BATCH, device=device, reward=share_of_ones)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    reference = Reference(setting.model(device=device).requires_grad_(False), policy.distribution)
    learner = GRPO(policy, reference, config)

    play = EnvPlay(env, BATCH, seed=0, actor_seed=1)

    def ours() -> float:
        start = time.perf_counter()
        batch = learner.experience(play)
        learner.update(batch)
        return float(batch.completion_mask.sum()) / (time.perf_counter() - start)

    return compare(
        f"GRPO iteration, batch {BATCH}, {EPOCHS} epochs", "TRL GRPOTrainer", ours,
        lambda: trl_iteration(config, device), "tokens/s", repeats,
    )  # fmt: skip


def share_of_ones(text: str) -> float:
    """Of the characters: both sides' words have numbers in them, so that no group is without spread."""
    return text.count("1") / max(1, len(text))


def trl_iteration(config: GRPOConfig, device: str) -> float:
    """One iteration of TRL's with the same sizes; its construction is not timed."""
    from datasets import Dataset

    tokens = 0

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        nonlocal tokens
        tokens += sum(map(len, completion_ids))
        return [share_of_ones(text) for text in completions]

    prompts = torch.randint(0, setting.VOCABULARY - 2, (BATCH, setting.PROMPT)).tolist()
    with tempfile.TemporaryDirectory() as folder:  # TRL reads the reference from where the model was read
        setting.model().save_pretrained(folder)
        lm: Any = GPT2LMHeadModel.from_pretrained(folder)
        trainer = trl_trainer(
            lm.to(device),
            _numbers_tokenizer(),
            Dataset.from_dict({"prompt": [" ".join(map(str, ids)) for ids in prompts]}),
            reward,
            config,
            completions=BATCH,
            updates=1,
            max_new_tokens=setting.NEW,
            device=device,
        )
    start = time.perf_counter()
    trainer.train()
    return tokens / (time.perf_counter() - start)


def _numbers_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of as many words as the model has tokens: TRL reads prompts and decodes with it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    backend = Tokenizer(WordLevel({str(i): i for i in range(setting.VOCABULARY)}, unk_token="0"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="0",
        eos_token=str(setting.VOCABULARY - 1),
        padding_side="left",
    )


def update_alone(repeats: int, device: str) -> Row:
    """The update with rows sorted by length into pieces, against the same update as one padded batch."""
    env = setting.env(BATCH, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    reference = Reference(setting.model(device=device).requires_grad_(False), policy.distribution)
    batch = collect(env, PPO(policy, reference).actor(1), BATCH, seed=0)
    # Completions of every length from 1 to 48, as a policy that ends its texts has them.
    last = setting.PROMPT + 1 + torch.arange(BATCH, device=device) * (setting.NEW - 1) // (BATCH - 1)
    column = torch.arange(batch.tokens.shape[1], device=device)
    keep = column < last.unsqueeze(1)
    cut = {name: torch.where(keep, getattr(batch, name), 0) for name in ("logprobs", "values", "rewards")}
    cut["tokens"] = torch.where(keep, batch.tokens, -1)
    cut["completion_mask"] = batch.completion_mask & keep
    ragged = type(batch)(**(vars(batch) | cut))

    def timed(max_tokens: int) -> float:
        learner = PPO(policy, reference, PPOConfig(minibatch_size=BATCH, max_tokens=max_tokens, learning_rate=1e-12))
        start = time.perf_counter()
        learner.update(ragged)
        return float(ragged.completion_mask.sum()) / (time.perf_counter() - start)

    return compare("update, ragged lengths", "the same, one padded batch", lambda: timed(1024), lambda: timed(10**9),
                   "tokens/s", repeats)  # fmt: skip


if __name__ == "__main__":
    if any("cuda" in argument for argument in sys.argv):
        gpu_update.main()
    else:
        main(__doc__, measure)
