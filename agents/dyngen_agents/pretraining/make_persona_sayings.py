"""Trains the recogniser `persona-sayings.safetensors` on what the simulated persons say.

    python -m dyngen_agents.pretraining.make_persona_sayings     two minutes on one thread; needs apt install espeak-ng

It hears the sayings of the persona file "en" from the recorded voices of TRAIN and, half of them each, from 29 variants
of espeak-ng in five accents, at many speeds and pitches and in noise. Neither the accents nor the variants of
`voices.EVAL` are among them. Nothing was tuned.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dyngen_agents.pretraining.make_recordings import sayings
from dyngen_env.lm.modalities.utterance import utterance_features
from dyngen_env.users.personas import read_population
from dyngen_env.users.speech.persona_sayings import PATH, classifier, save
from dyngen_env.users.speech.recordings import Recordings
from dyngen_env.users.speech.synthesiser import Espeak
from dyngen_env.users.speech.voices import SPREAD, TRAIN, Speaker
from dyngen_env.users.speech.waves import resampled, with_noise

log = logging.getLogger(__name__)

ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan")
VARIANTS = (
    "f1", "f2", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "Alex", "Alicia", "Andy", "Annie", "Denis", "Jacky",
    "Lee", "Mike", "adam", "anika", "aunty", "belinda", "david", "edward", "grandpa", "iven", "klatt", "max", "steph",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What is heard, and how it is learned. Not tuned."""

    seed: int = 0
    share: float = 0.5  # of the sayings that a variant says
    speeds: tuple[float, float] = (0.85, 1.2)  # of the voices, as factors
    pitches: tuple[float, float] = (0.7, 1.3)
    hearings: int = 2  # how often each is heard, at another speed of the tape and in other noise
    snr: tuple[float, float] = (0.0, 40.0)  # decibels
    steps: int = 1_000
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    blur: float = 0.3  # deviation of the noise that is added to the features


def recorded(texts: Sequence[str], recipe: Recipe) -> list[tuple[str, np.ndarray]]:
    """What is said, and how it sounds (T,): all that TRAIN has recorded, and some sayings of each variant."""
    espeak, rng, recordings = Espeak(), np.random.default_rng(recipe.seed), Recordings()
    heard = [(text, recordings.speak(text, Speaker(voice))) for voice in TRAIN for text in texts]
    for variant in VARIANTS:
        for text in texts:
            if rng.random() < recipe.share:
                voice = f"{ACCENTS[rng.integers(len(ACCENTS))]}+{variant}"
                speaker = Speaker(voice, float(rng.uniform(*recipe.speeds)), float(rng.uniform(*recipe.pitches)))
                heard.append((text, espeak.speak(text, speaker)))
    return heard


def heard_features(sounds: Sequence[np.ndarray], recipe: Recipe) -> Tensor:
    """(N · hearings, FEATURES) of N sounds, each heard several times in a row."""
    rng = np.random.default_rng(recipe.seed)
    rows = []
    for sound in sounds:
        for _ in range(recipe.hearings):
            tape = resampled(sound, 1 + SPREAD * rng.uniform(-1, 1))
            noisy = with_noise(tape, rng.uniform(*recipe.snr), rng)
            rows.append(utterance_features(torch.from_numpy(noisy)))
    return torch.stack(rows)


def train(features: Tensor, labels: Tensor, count: int, recipe: Recipe) -> nn.Sequential:
    """A classifier of features (N, FEATURES) that has learned their labels (N,), of which there are `count`."""
    torch.manual_seed(recipe.seed)
    network = classifier(count)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for step in range(1, recipe.steps + 1):
        chosen = torch.randint(len(features), (recipe.batch,))
        blurred = features[chosen] + recipe.blur * torch.randn(recipe.batch, features.shape[1])
        loss = nn.functional.cross_entropy(network(blurred), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            log.info("step %d: loss %.3f", step, float(loss.detach()))
    return network.eval()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, started = Recipe(seed=args.seed), time.monotonic()
    texts = sayings(read_population("en"))
    heard = recorded(texts, recipe)
    log.info("%d sayings after %.0f s", len(heard), time.monotonic() - started)
    features = heard_features([sound for _, sound in heard], recipe)
    labels = torch.tensor([texts.index(text) for text, _ in heard]).repeat_interleave(recipe.hearings)
    log.info("heard after %.0f s", time.monotonic() - started)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(args.out, texts, train(features, labels, len(texts), recipe))
    log.info("written to %s after %.0f s", args.out, time.monotonic() - started)


if __name__ == "__main__":
    main()
