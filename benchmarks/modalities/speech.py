"""How well speech is recognised: `python -m benchmarks.modalities speech [--whisper FOLDER] [--quick] [--json PATH]`.

Voices say what the simulated persons say, in noise; the table has the word error rate of each recogniser (words without
case and punctuation) on voices that ours has learned from and on voices that it has never heard, and the CPU time that
an utterance takes. Ours alone: half a minute. Whisper tiny.en on every fourth utterance: ten minutes more.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import machine, versions
from dyngen_agents.pretraining.make_recordings import sayings
from dyngen_env.scoring.word_errors import word_errors
from dyngen_env.text.media import Sound
from dyngen_env.users.personas import read_population
from dyngen_env.users.speech.recogniser import Recogniser, make_recogniser
from dyngen_env.users.speech.synthesiser import make_synthesiser
from dyngen_env.users.speech.voices import SETS, draw_speaker
from dyngen_env.users.speech.waves import with_noise

SNRS = (math.inf, 20.0, 10.0, 0.0)  # decibels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whisper", type=Path, help="a folder with a model for faster-whisper")
    parser.add_argument("--speaks", default="recordings", choices=("recordings", "espeak"))
    parser.add_argument("--voices", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--snr", nargs="+", type=float, default=SNRS, help="decibels; inf is no noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="every tenth utterance")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recognisers: dict[str, tuple[Recogniser, int]] = {"persona_sayings": (make_recogniser("persona_sayings"), 1)}
    if arguments.whisper:
        recognisers["whisper"] = (make_recogniser(str(arguments.whisper)), 4)
    rows = []
    for name, (recogniser, every) in recognisers.items():
        for voices in arguments.voices:
            said = utterances(voices, arguments.speaks, arguments.seed)[:: 10 if arguments.quick else every]
            rows += [measured(name, recogniser, voices, snr, said, arguments.seed) for snr in arguments.snr]
    if arguments.json:
        report = {"rows": rows, "machine": machine("cpu"), "versions": versions()}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    Console().print(table(rows))


def utterances(voices: str, speaks: str, seed: int) -> list[tuple[str, np.ndarray]]:
    """Every saying by every voice of a set, each at a speed of its own: what is said, and the sound without noise."""
    synthesiser, rng = make_synthesiser(speaks), np.random.default_rng(seed)
    texts = sayings(read_population("en"))
    return [(text, synthesiser.speak(text, draw_speaker([voice], rng))) for text in texts for voice in SETS[voices]]


def measured(
    name: str, recogniser: Recogniser, voices: str, snr: float, said: list[tuple[str, np.ndarray]], seed: int
) -> dict[str, Any]:
    """Word error rate, the share of utterances without an error, and CPU seconds an utterance, of one recogniser."""
    rng = np.random.default_rng(seed)
    sounds = [Sound(with_noise(sound, snr, rng)) for _, sound in said]
    recogniser.transcribe(sounds[0])  # loads its model
    started = time.process_time()
    heard = [recogniser.transcribe(sound) for sound in sounds]
    seconds = time.process_time() - started
    counts = [word_errors(text, words) for (text, _), words in zip(said, heard, strict=True)]
    return dict(
        recogniser=name,
        voices=voices,
        snr=None if snr == math.inf else snr,
        utterances=len(said),
        word_error_rate=sum(errors for errors, _ in counts) / sum(words for _, words in counts),
        without_error=sum(errors == 0 for errors, _ in counts) / len(counts),
        seconds=seconds / len(said),
    )


def table(rows: list[dict[str, Any]]) -> Table:
    """A line for each recogniser, set of voices and noise."""
    shown = Table("recogniser", "voices", "noise", "utterances", "word error rate", "without an error", "s each")
    for row in rows:
        noise = "none" if row["snr"] is None else f"{row['snr']:g} dB"
        shown.add_row(
            row["recogniser"],
            row["voices"],
            noise,
            str(row["utterances"]),
            f"{row['word_error_rate']:.3f}",
            f"{row['without_error']:.2f}",
            f"{row['seconds']:.4f}",
        )
    return shown


if __name__ == "__main__":
    main()
