"""A trained discriminator as a file of its own, `discriminator.safetensors`, which a run's folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dyngen_env.lm.discriminators.convolutional import ConvolutionalDiscriminator
from dyngen_env.lm.discriminators.discriminator import Discriminator
from dyngen_env.lm.discriminators.hidden_state import Hidden, HiddenStateDiscriminator
from dyngen_env.lm.engine.heads import hidden_states
from dyngen_env.lm.loading.fingerprint import check_unchanged
from dyngen_env.lm.loading.models import load_model

FILE, FORMAT = "discriminator.safetensors", 1
KINDS = (ConvolutionalDiscriminator.kind, HiddenStateDiscriminator.kind)


@dataclass(frozen=True)
class DiscriminatorRecord:
    """What a file says of its discriminator, beside the weights.

    Args:
        kind, settings: see `Discriminator`.
        tokenizer, vocabulary: name and `vocabulary_fingerprint` of the tokenizer whose ids it reads; empty while it has
            learned nothing.
        reads_prompt: whether it reads the prompt and what was written after it, or a turn of the agent by itself.
        model, model_fingerprint: of the language model whose hidden states it reads; empty if it reads none.
    """

    kind: str
    settings: dict[str, Any]
    tokenizer: str = ""
    vocabulary: str = ""
    reads_prompt: bool = True
    model: str = ""
    model_fingerprint: str = ""

    def metadata(self) -> dict[str, str]:
        """As the metadata of a safetensors file, whose values are texts."""
        return {"discriminator": json.dumps({"format": FORMAT, **asdict(self)})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> DiscriminatorRecord:
        """The inverse of `metadata`. Raises KeyError, TypeError or ValueError if it is not what that gave."""
        said = json.loads(metadata["discriminator"])
        version = said.pop("format")
        if version != FORMAT:
            raise ValueError(f"it has format {version}, this version of dyngen reads {FORMAT}")
        return cls(**said)

    def build(self, hidden: Hidden | None = None) -> Discriminator:
        """A new discriminator of this kind, with its first weights. Raises ValueError for a kind that is not known."""
        if self.kind == ConvolutionalDiscriminator.kind:
            return ConvolutionalDiscriminator(**self.settings)
        if self.kind == HiddenStateDiscriminator.kind and hidden is not None:
            return HiddenStateDiscriminator(hidden, **self.settings)
        raise ValueError(f"a discriminator of kind {self.kind!r}: expected one of {', '.join(map(repr, KINDS))}")


@dataclass(frozen=True)
class SavedDiscriminator:
    """What `read_discriminator` finds."""

    path: Path
    record: DiscriminatorRecord
    tensors: dict[str, Tensor]

    def on(self, device: str) -> Discriminator:
        """The discriminator on a device. Raises ValueError if the language model below it has changed since."""
        record, hidden = self.record, None
        if record.model:
            check_unchanged(record.model, record.model_fingerprint, f"the discriminator in {self.path} reads it")
            hidden = partial(hidden_states, load_model(record.model, device=device))
        found = record.build(hidden)
        found.module.load_state_dict(self.tensors)
        found.module.to(device).eval()
        return found


def read_discriminator(path: str | Path) -> SavedDiscriminator:
    """The discriminator of a run.

    Args:
        path: the run's folder, or the file itself.

    Raises:
        FileNotFoundError: there is none. ValueError: the file is damaged, something else, or another version's.
    """
    place = Path(path).expanduser()
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        raise FileNotFoundError(
            f"no discriminator in {str(path)!r}: expected the folder of a run of `dyngen train adversarial`, or the "
            f"{FILE} in it"
        )
    status = file.stat()
    return _read(file.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, modified_ns: int, size: int) -> SavedDiscriminator:
    """The file as of a time, read once for all who ask."""
    try:
        with safe_open(file, framework="pt") as opened:
            record = DiscriminatorRecord.from_metadata(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
            return SavedDiscriminator(file, record, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no discriminator that can be read ({error}): train it again") from error
