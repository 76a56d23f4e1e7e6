"""Whether adversarial training makes film reviews more human: `python -m benchmarks.fusion reviews`.

`reviews-lm` is trained against its discriminator alone (reward 0) in dyngen/Sentiment-v0. That discriminator's own
accuracy tells little afterwards: it may have been led astray together with the policy. So a fresh one, of another seed,
is trained on human texts against those of the untrained policy, and another against those of the trained one, with
equal budgets; each is measured on prompts, human texts and generated texts that nobody has learned from. 0.5 is chance.
Distinct-2 is to stay above 0.9 of the untrained policy's.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dyngen_agents.algorithms.adversarial import AdversarialConfig
from dyngen_agents.algorithms.discriminator_training import DiscriminatorTraining
from dyngen_agents.data.judged_texts import HumanTexts, JudgedTexts, human_texts, turns_of
from dyngen_agents.data.rollout import collect
from dyngen_agents.evaluation.intervals import t_quantile
from dyngen_agents.policy.actor import Actor
from dyngen_agents.policy.causal_lm import CausalLMPolicy
from dyngen_agents.runs.opened_run import OpenedRun, open_run
from dyngen_agents.training.metrics_log import read_metrics
from dyngen_agents.training.train import TrainConfig, train
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.lm.discriminators.convolutional import ConvolutionalDiscriminator
from dyngen_env.scoring.diversity import distinct_n

DRAWS = 6  # of a fresh classifier's texts; more make it learn them by heart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--texts", type=int, default=2048, help="that a fresh classifier learns from, of each kind")
    parser.add_argument("--credit", default="prefix", choices=("end", "prefix", "fork", "both"))
    parser.add_argument("--discriminator", default="convolutional", choices=("convolutional", "hidden-state"))
    parser.add_argument("--quick", action="store_true", help="one seed, a tenth of everything: for a look")
    parser.add_argument("--json", type=Path, help="write the figures there after each seed")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.quick:
        given.seeds, given.updates, given.texts = 1, min(given.updates, 8), 128
    results = []
    for seed in range(given.seeds):
        results.append(measured(seed, given))
        if given.json:
            given.json.write_text(json.dumps(results, indent=2) + "\n")
    show(results)


def measured(seed: int, given: argparse.Namespace) -> dict[str, float]:
    """One run, and what is found about it."""
    pretraining = min(10, given.updates // 2)
    config = AdversarialConfig(d_pretrain=pretraining, d_credit=given.credit, discriminator=given.discriminator)
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "run"))
        run = train(TrainConfig(reward="0", updates=given.updates, seed=seed, out=out, threads=1), config)
        metrics = read_metrics(run)
        learning, unseen = open_run(run, split="train"), open_run(run, split="eval")
        found: dict[str, float] = {
            "own accuracy, before": mean(metrics[pretraining : pretraining + 3], "d_accuracy"),
            "own accuracy, after": mean(metrics[-3:], "d_accuracy"),
            "KL per episode": metrics[-1]["kl"],
        }
        for name, policy in (("untrained", unseen.untrained), ("trained", unseen.policy)):
            found |= judged(policy, name, learning, unseen, given.texts, seed)
    return found


def mean(records: list[dict[str, Any]], name: str) -> float:
    return sum(record[name] for record in records) / len(records)


def judged(
    policy: CausalLMPolicy, name: str, learning: OpenedRun, unseen: OpenedRun, count: int, seed: int
) -> dict[str, float]:
    """The accuracy of a fresh classifier of a policy's texts, and their distinct-2."""
    learned, _ = written(policy, learning.env, count, seed)
    new, texts = written(policy, unseen.env, max(128, count // 4), seed + 1)
    people, strangers = human_texts(learning.env, None), human_texts(unseen.env, None)
    human = HumanTexts(people.learned, strangers.learned, people.reads_prompt)
    width = learning.env.legal_tokens().numel()
    judge = DiscriminatorTraining(
        ConvolutionalDiscriminator(width, seed=1000 + seed), 1e-3, minibatch_size=32, memory=count, on_prefixes=False
    )
    judge.remember(learned)
    for draw in range(DRAWS):
        judge.learn(human, count, steps=1, epochs=1, seed=seed + 1000 * draw)
    accuracy = judge.judge(human, new).accuracy
    return {f"fresh accuracy, {name}": accuracy, f"distinct-2, {name}": distinct_n(texts, 2)}


def written(policy: CausalLMPolicy, env: TextGenVectorEnv, count: int, seed: int) -> tuple[JudgedTexts, list[str]]:
    """What a policy writes, as a classifier reads it and as texts."""
    batch = collect(env, Actor(policy, seed), count, seed=seed)
    turns = turns_of(batch.completion_mask)
    return turns.texts(batch, env.tokenizer.end_ids, reads_prompt=True), list(batch.texts)


def show(results: list[dict[str, float]]) -> None:
    table = Table("measure", f"mean of {len(results)} seeds", "95% interval")
    for name in results[0]:
        values = [result[name] for result in results]
        shown = "one seed"
        if len(values) > 1:
            shown = f"± {t_quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5:.3f}"
        table.add_row(name, f"{sum(values) / len(values):.3f}", shown)
    Console().print(table)


if __name__ == "__main__":
    main()
