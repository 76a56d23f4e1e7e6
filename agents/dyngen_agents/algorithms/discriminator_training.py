"""Teaches a discriminator to tell human texts from an agent's, and remembers the agent's newest texts for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dyngen_agents.algorithms.optimizer import PolicyOptimizer
from dyngen_agents.data.judged_texts import HumanTexts, JudgedTexts, join_texts
from dyngen_env.lm.discriminators.discriminator import Discriminator

TEXTS_OF_A_FORWARD = 256


class Judgement(NamedTuple):
    """How well a discriminator tells texts apart that it has not learned from."""

    accuracy: float  # the mean of the shares of human and of generated texts that it takes for what they are
    human: float  # mean probability that people wrote what people wrote
    generated: float  # the same of what the agent wrote


class DiscriminatorTraining:
    """A discriminator with its optimizer and the texts that it learns from. In a run of several processes each of them
    does the same.

    Args:
        discriminator: what learns.
        learning_rate: of AdamW. minibatch_size: human texts of a gradient step, and as many of the agent's.
        memory: how many of the agent's newest texts are kept: who learns from the last batch alone forgets what the
            agent wrote before (Shrivastava et al. 2017, "Learning from simulated and unsupervised images", sec. 2.3).
        on_prefixes: whether it learns to judge every prefix of a text, or whole texts alone.
    """

    def __init__(
        self, discriminator: Discriminator, learning_rate: float, minibatch_size: int, memory: int, on_prefixes: bool
    ):
        self.discriminator, self.minibatch_size = discriminator, minibatch_size
        self.most, self.on_prefixes = memory, on_prefixes
        self.optimizer = PolicyOptimizer(discriminator.module.parameters(), learning_rate)
        self.memory: JudgedTexts | None = None

    def remember(self, texts: JudgedTexts) -> None:
        """Add what the agent has just written; the oldest texts are dropped."""
        whole = texts if self.memory is None else join_texts([self.memory, texts])
        self.memory = whole.take(slice(max(0, len(whole) - self.most), None))

    def learn(self, human: HumanTexts, count: int, steps: int, epochs: int, seed: int) -> float:
        """Gradient steps on the binary cross-entropy, human texts being 1; returns its mean, in nats.

        Args:
            count: how many texts of the memory a step draws, and as many human ones. The first takes the newest.
            steps: how often texts are drawn anew. epochs: passes over them. seed: of all that is drawn.
        """
        assert self.memory is not None, "nothing was remembered"
        generator = torch.Generator().manual_seed(seed)
        losses = []
        for step in range(steps):
            size = min(count, len(self.memory), len(human.learned))
            order = torch.arange(len(self.memory)).flip(0) if step == 0 else _permutation(self.memory, generator)
            generated = self.memory.take(order[:size])
            written = human.learned.take(_permutation(human.learned, generator)[:size])
            for _ in range(epochs):
                pairs = (_permutation(generated, generator), _permutation(written, generator))
                for rows in zip(*(order.split(self.minibatch_size) for order in pairs), strict=True):
                    texts = join_texts([generated.take(rows[0]), written.take(rows[1])])
                    labels = torch.arange(len(texts), device=texts.tokens.device) >= len(rows[0])
                    loss = self._loss(texts, labels.float(), generator)
                    self.optimizer.backward(loss)
                    self.optimizer.step()
                    losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _loss(self, texts: JudgedTexts, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The cross-entropy of texts (N, T) with labels (N,), each text counting once."""
        if not self.on_prefixes:
            return F.binary_cross_entropy_with_logits(self.discriminator.logits(texts.tokens, generator), labels)
        logits, mask = self.discriminator.prefix_logits(texts.tokens, generator), texts.mask
        wrong = F.binary_cross_entropy_with_logits(logits, labels[:, None].expand_as(logits), reduction="none")
        return ((wrong * mask).sum(1) / mask.sum(1)).mean()

    def score(self, texts: JudgedTexts) -> Tensor:
        """(N,) the probabilities that people wrote the texts."""
        return self._in_pieces(self.discriminator.logits, texts)

    def prefix_scores(self, texts: JudgedTexts) -> Tensor:
        """(N, T) the same of the text up to each token."""
        return self._in_pieces(self.discriminator.prefix_logits, texts)

    @torch.no_grad()
    def _in_pieces(self, judge: Callable[[Tensor], Tensor], texts: JudgedTexts) -> Tensor:
        return torch.cat([judge(piece).sigmoid() for piece in texts.tokens.split(TEXTS_OF_A_FORWARD)])

    def judge(self, human: HumanTexts, generated: JudgedTexts) -> Judgement:
        """How well it does on human texts that were held out, and on the agent's before it has learned from them."""
        people, agent = self.score(human.held_out), self.score(generated)
        accuracy = ((people > 0.5).float().mean() + (agent < 0.5).float().mean()) / 2
        return Judgement(float(accuracy), float(people.mean()), float(agent.mean()))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the discriminator itself."""
        kept = {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        if self.memory is not None:
            kept |= {"memory.tokens": self.memory.tokens, "memory.starts": self.memory.starts}
        return kept

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        own = {n.removeprefix("optimizer."): t for n, t in tensors.items() if n.startswith("optimizer.")}
        self.optimizer.load_tensors(own)
        if "memory.tokens" in tensors:
            device = next(self.discriminator.module.parameters()).device
            self.memory = JudgedTexts(tensors["memory.tokens"].to(device), tensors["memory.starts"].to(device))


def _permutation(texts: JudgedTexts, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(texts), generator=generator)
