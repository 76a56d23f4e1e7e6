"""A small recogniser of our own, which knows the sayings of the simulated persons and nothing else."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

import dyngen_env.assets
from dyngen_env.lm.modalities.log_mel import HOP, log_mel
from dyngen_env.lm.modalities.utterance import BINS, FEATURES, loud_frames, utterance_features
from dyngen_env.text.media import Sound

PATH = Path(dyngen_env.assets.__file__).with_name("speech") / "persona-sayings.safetensors"
REMEDY = "make one by `python -m dyngen_agents.pretraining.make_persona_sayings`"
WIDTH = 192  # of the hidden layer
SILENCE = 1e-4  # a root mean square below which nobody speaks
PAUSE = 15  # frames of 10 ms: a pause of so many may lie between two sayings


class PersonaSayings:
    """A classifier with one hidden layer: what it hears becomes the likeliest saying of those that it knows, which are
    what the personas "en" say; or two of them, if there is a pause.

    It has learned from espeak-ng's voices, from none of `voices.EVAL`, in noise.

    Args:
        file: a file that `save` has written.

    Raises:
        FileNotFoundError: no such file. ValueError: it is none of these, or damaged.
    """

    def __init__(self, file: str | Path = PATH):
        self.file = Path(file)
        self.sayings, self.network = _read(self.file, self.file.stat().st_mtime_ns if self.file.is_file() else 0)

    @torch.no_grad()
    def transcribe(self, sound: Sound) -> str:
        """See `Recogniser`."""
        samples = torch.from_numpy(sound.samples.copy())
        if float(samples.square().mean()) < SILENCE**2:
            return ""
        text, sure = self._likeliest(samples)
        pause = longest_pause(samples)
        if pause is not None:
            (first, a), (second, b) = self._likeliest(samples[:pause]), self._likeliest(samples[pause:])
            if min(a, b) > sure:
                return f"{first} {second}"
        return text

    def _likeliest(self, samples: torch.Tensor) -> tuple[str, float]:
        """A saying, and its probability."""
        sure, which = self.network(utterance_features(samples)).softmax(-1).max(-1)
        return self.sayings[int(which)], float(sure)


def classifier(sayings: int) -> nn.Sequential:
    """(..., FEATURES) -> (..., sayings), logits."""
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.GELU(), nn.Linear(WIDTH, sayings))


def longest_pause(samples: torch.Tensor) -> int | None:
    """The sample in the middle of the longest pause between loud frames; None if none lasts for PAUSE frames."""
    loud = loud_frames(log_mel(samples, BINS)).nonzero()[:, 0]
    gaps = loud.diff()
    if not len(gaps) or int(gaps.max()) < PAUSE:
        return None
    at = int(gaps.argmax())
    return int(loud[at] + loud[at + 1]) * HOP // 2


def save(file: Path, sayings: list[str], network: nn.Sequential) -> None:
    """Write a trained classifier with what it knows, in half precision."""
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, file, {"sayings": json.dumps(sayings)})


@lru_cache(maxsize=2)
def _read(file: Path, stamp: int) -> tuple[list[str], nn.Sequential]:
    if not file.is_file():
        raise FileNotFoundError(f"no recogniser {str(file)!r}: {REMEDY}")
    try:
        with safe_open(file, "pt") as opened:
            sayings = json.loads(opened.metadata()["sayings"])
            weights = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
        network = classifier(len(sayings))
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{file} is no recogniser of sayings, or a damaged one ({reason}): {REMEDY}") from error
    return sayings, network.eval()
