"""Watches adversarial training: measures what may go wrong, and says when it does and what helps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dyngen_agents.data.judged_texts import JudgedTexts
from dyngen_agents.functional.text_distance import kernel_distance
from dyngen_env.scoring.diversity import distinct_n, self_bleu

TOO_SHARP = 0.95  # held-out accuracy above which nearly every text is paid 0, and nothing is learned from that
PATIENCE = 3  # updates in a row for which it must be so
LEFT = 0.5  # of what diversity and entropy were at first
COMPARED = 256  # human texts that the policy's are measured against
SELF_BLEU_TEXTS = 64
SMOOTHED = 5  # updates over which the distance to human texts is averaged: one batch alone is noisy

log = logging.getLogger(__name__)

REMEDIES = {
    "d_accuracy": "the discriminator tells %.0f%% of unseen texts right: its scores hardly differ between the policy's "
    "texts, so they teach little. Lower d_epochs, d_steps or d_learning_rate, or raise g_steps",
    "distinct_2": "texts grow alike: distinct-2 is %.2f, less than half of what it was at first. Raise kl_coef or "
    "ent_coef, or go on from the checkpoint in best/",
    "entropy": "the policy grows certain: its entropy is %.2f nats a token, less than half of what it was at first. "
    "Raise kl_coef or ent_coef, or go on from the checkpoint in best/",
}


class AdversarialWatch:
    """Looks at every update. Each cause of alarm is warned of once, and again after it had gone away.

    Args:
        hidden: last hidden states (N, T, D) of the untrained language model over tokens (N, T), right-padded with -1.

    Attributes:
        first: "distinct_2" and "entropy" of the first update, by name.
        sharp: for how many updates the discriminator has been too good.
        warned: causes that hold at present.
        distances: of the last updates.
    """

    def __init__(self, hidden: Callable[[Tensor], Tensor]):
        self.hidden = hidden
        self.first: dict[str, float] = {}
        self.sharp, self.warned, self.distances = 0, list[str](), list[float]()
        self._human: Tensor | None = None  # features of human texts

    def look(
        self, texts: Sequence[str], generated: JudgedTexts, human: JudgedTexts, numbers: dict[str, float]
    ) -> dict[str, float]:
        """Measure an update's texts.

        Args:
            texts: the last completion of each episode. generated: the policy's turns. human: held-out human texts.
            numbers: "d_accuracy" and "entropy" of the update.

        Returns:
            "self_bleu"; "text_distance", the kernel distance of human and generated texts by their mean hidden states;
            "validation", minus its mean over the last updates; "collapse_alarm", 1 if something is wrong.
        """
        if self._human is None:
            self._human = self._features(human.take(slice(COMPARED)))
        mean, std = self._human.mean(0), self._human.std(0) + 1e-6
        features = self._features(generated.take(slice(COMPARED)))
        distance = kernel_distance((features - mean) / std, (self._human - mean) / std)
        self.distances = [*self.distances, distance][-SMOOTHED:]
        alarm = self.check(numbers | {"distinct_2": distinct_n(texts, 2)})
        return {
            "self_bleu": self_bleu(texts[:SELF_BLEU_TEXTS]),
            "text_distance": distance,
            "validation": -sum(self.distances) / len(self.distances),
            "collapse_alarm": float(alarm),
        }

    def check(self, numbers: dict[str, float]) -> bool:
        """Look at "d_accuracy", "distinct_2" and "entropy" of an update; returns whether something is wrong."""
        if not self.first:
            self.first = {name: numbers[name] for name in ("distinct_2", "entropy")}
        self.sharp = self.sharp + 1 if numbers["d_accuracy"] > TOO_SHARP else 0
        causes = ["d_accuracy"] if self.sharp >= PATIENCE else []
        causes += [name for name, first in self.first.items() if numbers[name] < LEFT * first]
        for cause in causes:
            if cause not in self.warned:
                log.warning(REMEDIES[cause], numbers[cause] * (100 if cause == "d_accuracy" else 1))
        self.warned = causes
        return bool(causes)

    @torch.no_grad()
    def _features(self, texts: JudgedTexts) -> Tensor:
        """(N, D): the mean hidden state of each text, its prompt left out."""
        mask = texts.mask.unsqueeze(2)
        return (self.hidden(texts.tokens).float() * mask).sum(1) / mask.sum(1)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"first": self.first, "sharp": self.sharp, "warned": self.warned, "distances": self.distances}

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.first, self.sharp = dict(state["first"]), state["sharp"]
        self.warned, self.distances = list(state["warned"]), list(state["distances"])
