"""Records what the simulated persons say with the voices of espeak-ng: `recordings.npz`.

    python -m dyngen_agents.pretraining.make_recordings        half a minute; needs apt install espeak-ng

All voices of `users.speech.voices` say all that the persona file "en" has, each at a speed and a pitch of its own.
`STEP` trades size for fidelity: at 0.05 the error is 15 dB below the speech, and a second takes 1.6 KB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dyngen_env.text.media.sound import SAMPLING_RATE
from dyngen_env.users.personas import Population, read_population
from dyngen_env.users.speech.recordings import PATH, save
from dyngen_env.users.speech.synthesiser import Espeak
from dyngen_env.users.speech.voices import EVAL, TRAIN, Speaker

STEP = 0.05
SPEEDS, PITCHES = (0.9, 1.15), (0.85, 1.2)  # factors, drawn once for each voice


def sayings(people: Population) -> list[str]:
    """Whatever these people may say, each once, in the order of their file."""
    asked = (text for preference in people.preferences.values() for text in preference.asks)
    return list(dict.fromkeys([*(text for texts in people.says.values() for text in texts), *asked]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PATH)
    args = parser.parse_args()
    texts, espeak, rng = sayings(read_population("en")), Espeak(), np.random.default_rng(0)
    sounds = {}
    for voice in (*TRAIN, *EVAL):
        speaker = Speaker(voice, float(rng.uniform(*SPEEDS)), float(rng.uniform(*PITCHES)))
        sounds[voice] = {text: espeak.speak(text, speaker) for text in texts}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(args.out, sounds, STEP)
    seconds = sum(len(sound) for said in sounds.values() for sound in said.values()) / SAMPLING_RATE
    print(f"{args.out}: {len(sounds)} voices, {len(texts)} sayings, {seconds:.0f} s, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
