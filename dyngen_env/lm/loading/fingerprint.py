"""What a model's files hold, as one short string: it tells whether a model has changed under those who build on it.

A run with adapters, and every run that is held to a reference, names its base model and does not hold it. If the files
behind that name change, the same adapters are another policy, and the same policy has another KL divergence.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import huggingface_hub

from dyngen_env.lm.loading.models import load_config
from dyngen_env.lm.loading.sources import resolve

# What decides which numbers a folder's model gives for which text. Whatever else lies there may change.
DECISIVE = (
    *("config.json", "model*.safetensors*", "pytorch_model*.bin*", "adapter_config.json", "adapter_model*"),
    *("tokenizer*.json", "vocab.*", "merges.txt", "*.model", "chat_template*"),
)


def fingerprint(name: str) -> str:
    """A string that is equal for equal models, wherever they lie and whenever they were written.

    `sha256:...` of a `.gguf` file, or of the configuration, weights and tokenizer in a folder; for a hub id
    `commit:...`, of the snapshot that `load_model` would load. All bytes are read, once for each state of a file: about
    a second for a gigabyte.

    Args:
        name: of a model, as for `load_model`.

    Raises:
        ValueError, FileNotFoundError: `name` leads nowhere.
    """
    source = resolve(name)
    if source.kind == "hub":
        return f"commit:{_snapshot(name)}"
    path = Path(source.path)
    if path.is_file():
        return f"sha256:{_sha256(path)}"
    files = sorted({file for form in DECISIVE for file in path.glob(form)})
    listed = "".join(f"{_sha256(file)}  {file.name}\n" for file in files)  # as the command sha256sum writes it
    return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"


def check_unchanged(name: str, known: str, since: str) -> None:
    """Returns if the model `name` still has the fingerprint `known`.

    Args:
        since: what stands on the model, as "this run began", for the message.

    Raises:
        ValueError: it has another fingerprint. FileNotFoundError: it is not there any more.
    """
    found = fingerprint(name)
    if found != known:
        raise ValueError(
            f"the base model {name!r} has changed since {since}: it was {_short(known)}, now it is {_short(found)}. "
            "What was learned belongs to the old one: put that back, or train anew on this one"
        )


def _snapshot(name: str) -> str:
    """The commit, 40 hexadecimal digits, that a load of this hub id gives."""
    load_config(name)  # asks the hub, where it can be reached, which one is the newest
    config = huggingface_hub.try_to_load_from_cache(name, "config.json")
    assert isinstance(config, str)  # it has just been put there
    return Path(config).parent.name


def _sha256(file: Path) -> str:
    state = file.stat()
    return _content(file, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))


@lru_cache(maxsize=256)
def _content(file: Path, state: tuple[int, ...]) -> str:
    """The hash of a file's bytes. `state` changes when they do, and so tells the cache."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _short(fingerprint: str) -> str:
    kind, _, value = fingerprint.partition(":")
    return f"{kind} {value[:12]}"
