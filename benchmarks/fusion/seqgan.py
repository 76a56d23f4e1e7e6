"""SeqGAN's synthetic oracle, and what its discriminator has to do with it: `python -m benchmarks.fusion seqgan ORACLE`.

An LSTM of random weights is the truth (Yu et al. 2017, sec. 5.1; ORACLE is its `.npz` file). A generator of its shape
learns from 10,000 of its texts by maximum likelihood, then adversarially. The published measure is the truth's mean
negative log-prob of a generated token (NLL_oracle: MLE 9.038, SeqGAN 8.736, the truth's own texts 5.75); it falls for
anything that makes a generator more certain. So beside it stands that of the generator on unseen texts of the truth
(NLL_test), which tells what was forgotten (Caccia et al. 2020, "Language GANs falling short"), and these arms:

    published     `--ends` to each prefix, scored by the discriminator; no baseline, as in the published code
    baseline      the same less its batch mean at each place
    prefix        the discriminator on prefixes: what each token changes of its opinion
    constant      2 for every token, no discriminator
    shuffled      "published" with its scores dealt out anew over the batch
    temperature   the generator of maximum likelihood, drawn from at a lower temperature: no training

For each arm the last column is its NLL_oracle less that of the temperature whose NLL_test is the same: only below zero
has it learned more than to be certain. Shortened from the paper so that one thread needs under an hour: 60 epochs of
maximum likelihood for 120, 30 rounds for 200, 4 ends for 16, and a discriminator that sees 2 x 1,000 texts a round and
2 epochs of them for 5 x 20,000 and 3. `--keep FILE` saves the generator of maximum likelihood, and reads it if it is
there, so that arms can be run apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.fusion._lstm import LSTM, VOCABULARY
from dyngen_agents.algorithms.discriminator_training import DiscriminatorTraining
from dyngen_agents.data.judged_texts import HumanTexts, JudgedTexts
from dyngen_agents.functional.losses import policy_gradient_loss
from dyngen_env.lm.discriminators.convolutional import ConvolutionalDiscriminator

TEMPERATURES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
BATCH = 64
ARMS = {  # name: (how tokens are paid, whether the batch mean is subtracted)
    "published": ("ends", False),
    "baseline": ("ends", True),
    "prefix": ("prefix", True),
    "constant": ("constant", False),
    "shuffled": ("shuffled", False),
}


class Point(NamedTuple):
    """Where a generator is."""

    nll_oracle: float
    nll_test: float


class Size(NamedTuple):
    """How much of everything."""

    texts: int  # that maximum likelihood learns from
    measured: int  # for a figure; a quarter of it for those of curve and sweep
    epochs: int  # of maximum likelihood
    pretraining: int  # draws of the discriminator before the first round
    drawn: int  # texts of each kind in such a draw, of which there is one a round
    rounds: int
    ends: int  # to each prefix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("oracle", type=Path, help="target_params.npz")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--ends", type=int, default=4)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: for a look, not for a claim")
    parser.add_argument("--keep", type=Path, help="a .safetensors file for the generator of maximum likelihood")
    parser.add_argument("--json", type=Path, help="write the figures there after each arm")
    given = parser.parse_args()
    size = Size(10_000, 10_000, given.epochs, 10, 1000, given.rounds, given.ends)
    if given.quick:
        size = Size(1_000, 1_000, min(given.epochs, 5), 2, 100, min(given.rounds, 4), min(given.ends, 2))
    torch.set_num_threads(1)
    run = Experiment(LSTM.from_file(given.oracle), size, given.seed, given.keep)
    report: dict[str, Any] = {"size": size._asdict(), "mle": run.mle._asdict(), "sweep": run.sweep, "arms": {}}
    for arm in given.arms:
        report["arms"][arm] = run.adversarial(arm)
        if given.json:
            given.json.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


class Experiment:
    """The truth, its texts, and the generator that maximum likelihood has made of them."""

    def __init__(self, oracle: LSTM, size: Size, seed: int, keep: Path | None):
        self.oracle, self.size, self.seed = oracle, size, seed
        self.began = time.monotonic()
        draw = torch.Generator().manual_seed(seed)
        self.texts, self.unseen = oracle.texts(size.texts, draw), oracle.texts(size.measured, draw)
        self.say(f"the truth's own texts: {oracle.nll(self.unseen):.3f} nats a token (published: 5.75)")
        if keep and keep.is_file():
            self.generator = LSTM(load_file(keep))
        else:
            self.generator = self.maximum_likelihood()
            if keep:
                save_file(dict(self.generator.weights.items()), keep)
        self.mle = self.point(self.generator, size.measured)
        self.say(f"maximum likelihood: {self.mle} (published: NLL_oracle 9.038)")
        self.sweep = [(t, *self.point(at_temperature(self.generator, t), size.measured // 4)) for t in TEMPERATURES]

    def say(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self.began:6.0f} s, {time.process_time():6.0f} s of CPU  {text}\n")

    def point(self, generator: LSTM, count: int) -> Point:
        """NLL_oracle of `count` fresh texts and NLL_test of as many unseen ones."""
        drawn = generator.texts(count, torch.Generator().manual_seed(self.seed + 1))
        return Point(self.oracle.nll(drawn), generator.nll(self.unseen[:count]))

    def maximum_likelihood(self) -> LSTM:
        """Adam at 1e-2 in batches of 64, as published, to the last epoch."""
        generator, shuffle = LSTM(seed=self.seed), torch.Generator().manual_seed(self.seed)
        adam = torch.optim.Adam(generator.parameters(), lr=1e-2, fused=True)
        for epoch in range(1, self.size.epochs + 1):
            for rows in torch.randperm(len(self.texts), generator=shuffle).split(BATCH):
                adam.zero_grad()
                (-generator.logprobs(self.texts[rows]).mean()).backward()
                adam.step()
            if epoch % 5 == 0:
                self.say(f"epoch {epoch}: {self.point(generator, self.size.measured // 10)}")
        return generator

    def adversarial(self, arm: str) -> dict[str, Any]:
        """Rounds of one arm from the generator of maximum likelihood: its curve and its last point."""
        how, centred = ARMS[arm]
        generator, size = copy.deepcopy(self.generator), self.size
        draw = torch.Generator().manual_seed(self.seed + 2)
        adam = torch.optim.Adam(generator.parameters(), lr=1e-2, fused=True)
        judge = self.discriminator(on_prefixes=how == "prefix")
        for step in range(size.pretraining if how != "constant" else 0):
            self.teach(judge, generator, draw, step)
        curve = []
        for number in range(size.rounds):
            tokens = generator.texts(BATCH, draw)
            paid = payments(how, generator, tokens, judge, size.ends, draw)
            adam.zero_grad()
            policy_gradient_loss(generator.logprobs(tokens), paid - paid.mean(0) if centred else paid).mean().backward()
            adam.step()
            told = {}
            if how != "constant":
                told = self.teach(judge, generator, draw, size.pretraining + number)
            if (number + 1) % max(1, size.rounds // 6) == 0:
                point = self.point(generator, size.measured // 4)
                curve.append({"round": number + 1, **point._asdict(), **told})
                self.say(f"{arm}, round {number + 1}: {point} {told}")
        return {"curve": curve, **self.point(generator, size.measured)._asdict()}

    def discriminator(self, on_prefixes: bool) -> DiscriminatorTraining:
        judge = ConvolutionalDiscriminator(VOCABULARY, seed=self.seed)
        return DiscriminatorTraining(
            judge, 1e-3, minibatch_size=64, memory=2 * self.size.drawn, on_prefixes=on_prefixes
        )

    def teach(
        self, judge: DiscriminatorTraining, generator: LSTM, draw: torch.Generator, step: int
    ) -> dict[str, float]:
        """A draw of new texts; returns the accuracy on texts that it has not learned from."""
        count = self.size.drawn
        new = whole(generator.texts(count, draw))
        human = HumanTexts(whole(self.texts), whole(self.unseen[:count]), reads_prompt=False)
        accuracy = judge.judge(human, new).accuracy
        judge.remember(new)
        judge.learn(human, count, steps=2, epochs=2, seed=self.seed + 1000 * step)
        return {"d_accuracy": round(accuracy, 3)}


def payments(
    how: str, generator: LSTM, tokens: Tensor, judge: DiscriminatorTraining, ends: int, draw: torch.Generator
) -> Tensor:
    """What each token (N, T) is paid."""
    if how == "constant":
        return torch.full(tokens.shape, 2.0)
    if how == "prefix":
        opinions = judge.prefix_scores(whole(tokens))
        return torch.cat([opinions[:, :1], opinions.diff(dim=1)], 1)
    scores = [judge.score(whole(each)).view(-1, ends).mean(1) for each in generator.ends(tokens, ends, draw)]
    paid = torch.stack([*scores, judge.score(whole(tokens))], 1)
    if how == "shuffled":
        paid = paid.flatten()[torch.randperm(paid.numel(), generator=draw)].view_as(paid)
    return paid


def whole(tokens: Tensor) -> JudgedTexts:
    return JudgedTexts(tokens, torch.zeros(len(tokens), dtype=torch.int64))


def at_temperature(generator: LSTM, temperature: float) -> LSTM:
    cooled = copy.deepcopy(generator)
    cooled.temperature = temperature
    return cooled


def beside_the_sweep(sweep: list[tuple[float, float, float]], point: dict[str, float]) -> float | None:
    """NLL_oracle less that of the temperature with the same NLL_test; None where no temperature has it."""
    _, oracle, test = np.array(sweep).T
    order = np.argsort(test)
    if not test.min() <= point["nll_test"] <= test.max():
        return None
    return point["nll_oracle"] - float(np.interp(point["nll_test"], test[order], oracle[order]))


def show(report: dict[str, Any]) -> None:
    table = Table("generator", "NLL_oracle", "NLL_test", "less the temperature of that NLL_test")
    table.add_row("maximum likelihood", *(f"{x:.3f}" for x in report["mle"].values()), "0")
    for temperature, oracle, test in report["sweep"][1:]:
        table.add_row(f"  at temperature {temperature:g}", f"{oracle:.3f}", f"{test:.3f}", "0")
    for arm, result in report["arms"].items():
        gain = beside_the_sweep(report["sweep"], result)
        shown = "out of the sweep" if gain is None else f"{gain:+.3f}"
        table.add_row(arm, f"{result['nll_oracle']:.3f}", f"{result['nll_test']:.3f}", shown)
    Console().print(table)


if __name__ == "__main__":
    main()
