"""The files of an encoder, beside those of the language model that it belongs to.

encoder.json           which parts it has, and what they were made with
encoder.safetensors    their weights
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dyngen_env.lm.modalities.encoder import MediaEncoder
from dyngen_env.lm.modalities.parts import as_settings, part_from

CONFIG, WEIGHTS = "encoder.json", "encoder.safetensors"
FORMAT = 1


def save_encoder(encoder: MediaEncoder, folder: str | Path) -> None:
    """Write both files. Raises OSError if that fails."""
    parts = {kind: as_settings(encoder.part(kind)) for kind in encoder.parts}
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in encoder.state_dict().items()}
    save_file(tensors, Path(folder) / WEIGHTS)
    text = json.dumps({"format": FORMAT, "parts": parts}, indent=2)
    (Path(folder) / CONFIG).write_text(text + "\n", encoding="utf-8")


def has_encoder(folder: str | Path) -> bool:
    """Whether a folder holds an encoder."""
    return (Path(folder) / CONFIG).is_file()


def load_encoder(folder: str | Path) -> MediaEncoder:
    """The encoder in a folder, in float32 on the CPU.

    Raises:
        FileNotFoundError: there is none. ValueError: it is damaged, or another version's.
    """
    encoder = MediaEncoder({kind: part_from(settings) for kind, settings in _parts(Path(folder)).items()})
    path = Path(folder) / WEIGHTS
    try:
        encoder.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is damaged, or not of the encoder in {CONFIG} ({first_line})") from error
    return encoder.eval()


def places_in(folder: str | Path) -> dict[str, int]:
    """How many tokens a medium takes, by kind, as the files of an encoder say. Raises as `load_encoder`."""
    return {kind: int(settings["places"]) for kind, settings in _parts(Path(folder)).items()}


def _parts(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no encoder: there is no {CONFIG} in it")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version, parts = record["format"], record["parts"]
        if version == FORMAT and all(isinstance(part["places"], int) for part in parts.values()):
            return parts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}): put back a copy of it") from error
    raise ValueError(f"{path} has format {version!r}, this version reads {FORMAT}: use the one that made it")
