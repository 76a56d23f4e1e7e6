"""What a model's files hold, as one short string: it tells whether a model has changed under those who build on it.

A run with adapters, and every run that is held to a reference, names its base model and does not hold it. If the files
behind that name change, the same adapters are another policy, and the same policy has another KL divergence.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import huggingface_hub

from dyngen_env.lm.loading.models import load_config
from dyngen_env.lm.loading.sources import resolve
from dyngen_env.user_cache import user_cache

# What decides which numbers a folder's model gives for which text. Whatever else lies there may change.
DECISIVE = (
    *("config.json", "model*.safetensors*", "pytorch_model*.bin*", "adapter_config.json", "adapter_model*"),
    *("tokenizer*.json", "vocab.*", "merges.txt", "*.model", "chat_template*"),
    *("encoder.json", "encoder.safetensors"),
)

LARGE = 16 << 20  # bytes of a file whose hash is worth a place on disk
SETTLED = 2_000_000_000  # ns: a file that changed later might change again within one tick of its clock


def fingerprint(name: str) -> str:
    """A string that is equal for equal models, wherever they lie and whenever they were written.

    `sha256:...` of a `.gguf` file, or of the configuration, weights and tokenizer in a folder; for a hub id
    `commit:...`, of the snapshot that `load_model` would load. All bytes are read, about a second for a gigabyte; the
    hashes of large files are kept in the user's cache, so that the next start does not read them again.

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
    """The hash of a file's bytes. What was read once is kept, on disk too, for as long as the file stays as it was."""
    found = file.stat()
    if time.time_ns() - found.st_ctime_ns < SETTLED:
        return _read(file)
    return _kept(file.resolve(), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=256)
def _kept(file: Path, state: tuple[int, ...]) -> str:
    """`_read`, once for all processes of a user. `state` is another one whenever the bytes are others: nobody can set
    the time of a file's last change, `st_ctime`."""
    place = user_cache() / "sha256" / hashlib.sha256(repr((str(file), state)).encode()).hexdigest()
    with suppress(OSError, UnicodeDecodeError):
        digest = place.read_text()
        if re.fullmatch("[0-9a-f]{64}", digest):  # else the disk was full while it was written
            return digest
    digest = _read(file)
    if state[0] >= LARGE:
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(digest)
    return digest


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _short(fingerprint: str) -> str:
    kind, _, value = fingerprint.partition(":")
    return f"{kind} {value[:12]}"
