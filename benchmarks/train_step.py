"""A whole PPO iteration against TRL's: `python -m benchmarks.train_step [--json PATH]`, where TRL 1.10 is importable.

TRL has dependencies of its own: `make bench-trl` installs it in an environment beside this project's and runs this.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator

import torch
from transformers import GPT2ForSequenceClassification, PreTrainedTokenizerFast

from benchmarks import setting
from benchmarks.harness import Row, compare, main
from dyngen_agents import PPO, CausalLMPolicy, PPOConfig, Reference, collect

BATCH, EPOCHS = 64, 4


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    yield ppo_iteration(min(3, arguments.repeats), arguments.device)
    yield update_alone(arguments.repeats, arguments.device)


def ppo_iteration(repeats: int, device: str) -> Row:
    """Rollout, reference, rewards, 4 epochs on 64 episodes of 16 + 48 tokens, in completion tokens per second.

    TRL also runs a separate value model and a reward model, which its PPO cannot do without; ours has a value head on
    the policy's trunk and scores the text's sentiment.
    """
    env = setting.env(BATCH, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    reference = Reference(setting.model(device=device).requires_grad_(False), policy)
    learner = PPO(policy, reference, PPOConfig(epochs=EPOCHS, minibatch_size=BATCH))

    def ours() -> float:
        start = time.perf_counter()
        batch = collect(env, learner.actor(1), BATCH, seed=0)
        learner.update(batch)
        return float(batch.completion_mask.sum()) / (time.perf_counter() - start)

    return compare(
        f"PPO iteration, batch {BATCH}, {EPOCHS} epochs", "TRL PPO (experimental)", ours, lambda: trl_iteration(device),
        "tokens/s", repeats,
    )  # fmt: skip


def trl_iteration(device: str) -> float:
    """One iteration of TRL's PPO with the same sizes; its construction is not timed."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig as TRLConfig
    from trl.experimental.ppo import PPOTrainer

    policy, reference = setting.model(device=device), setting.model(device=device)
    critics = [GPT2ForSequenceClassification(policy.config) for _ in range(2)]
    for critic in critics:
        critic.config.num_labels = 1
        critic.score = torch.nn.Linear(policy.config.n_embd, 1, bias=False)
    prompts = torch.randint(0, setting.VOCABULARY - 2, (BATCH, setting.PROMPT)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        config = TRLConfig(
            output_dir=folder, total_episodes=BATCH, per_device_train_batch_size=BATCH, num_mini_batches=1,
            gradient_accumulation_steps=1, local_rollout_forward_batch_size=BATCH, response_length=setting.NEW,
            num_ppo_epochs=EPOCHS, num_sample_generations=0, report_to="none", save_strategy="no",
            use_cpu=device == "cpu", temperature=1.0, logging_strategy="no", bf16=False,
        )  # fmt: skip
        trainer = PPOTrainer(
            args=config, processing_class=_numbers_tokenizer(), model=policy, ref_model=reference,
            reward_model=critics[0], value_model=critics[1], train_dataset=Dataset.from_dict({"input_ids": prompts}),
            eval_dataset=Dataset.from_dict({"input_ids": prompts}),
        )  # fmt: skip
        start = time.perf_counter()
        trainer.train()
        return BATCH * setting.NEW / (time.perf_counter() - start)


def _numbers_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of as many words as the model has tokens: TRL only pads and decodes with it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {str(i): i for i in range(setting.VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="0")),
        pad_token="0",
        eos_token=str(setting.VOCABULARY - 1),
        padding_side="left",
    )


def update_alone(repeats: int, device: str) -> Row:
    """The update with rows sorted by length into pieces, against the same update as one padded batch."""
    env = setting.env(BATCH, device=device)
    policy = CausalLMPolicy(setting.model(device=device), env.token_distribution())
    reference = Reference(setting.model(device=device).requires_grad_(False), policy)
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
    main(__doc__, measure)
