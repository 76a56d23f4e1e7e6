"""A run's folder as a checkpoint: a Hugging Face model that `from_pretrained` loads, and what is needed to go on.

    config.json, model.safetensors, tokenizer files   the policy's language model
    encoder.json, encoder.safetensors                 what it sees and hears by, if it does (see `lm.modalities`)
    adapter/                                          its low-rank adapters, if it learns by them (see `policy.lora`)
    training.safetensors                              the algorithm's tensors: optimizer, value head, ...
    discriminator.safetensors                         and the like: files of the algorithm's that others may use
    run.json                                          settings, progress, size and SHA-256 of the files above

Nothing is pickled. Saving is a write-ahead log. All files are written to `.checkpoint.new` and flushed to the disk; one
rename of that folder to `.checkpoint.whole` is the commit; then its files move, one rename each, to their places, and
`run.json` moves last. Killed before the commit, the older checkpoint stands untouched. Killed after it, whoever opens
the run next makes the remaining moves: at every moment one complete checkpoint exists. Links would make the switch a
single rename, but not every file system has them. Of the files that `from_pretrained` reads only model.safetensors
changes during a run, so it finds a complete model even between two moves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dyngen_agents.algorithms.algorithm import AlgorithmState, TensorFile
from dyngen_agents.policy.lora import save_lm
from dyngen_env.lm.loading.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORMAT = 2  # of run.json and training.safetensors
RECORD, TRAINING = "run.json", "training.safetensors"
NEW, WHOLE = ".checkpoint.new", ".checkpoint.whole"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint. `record` is what `save_checkpoint` was given."""

    folder: Path
    record: dict[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """What `save_checkpoint` was given, on the CPU."""
        return load_file(self.folder / TRAINING)

    def algorithm_state(self) -> AlgorithmState:
        """What the algorithm left there, on the CPU."""
        names = self.record.get("algorithm_files", [])  # runs of 0.3 and before have none
        files = {name: _read_tensor_file(self.folder / name) for name in names}
        return AlgorithmState(self.tensors(), self.record["algorithm_state"], files)


def has_checkpoint(folder: Path) -> bool:
    """Whether something was saved there."""
    return (folder / RECORD).is_file() or (folder / WHOLE / RECORD).is_file()


def save_checkpoint(
    folder: Path,
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tensors: dict[str, Tensor],
    record: dict[str, Any],
    files: Mapping[str, TensorFile] = MappingProxyType({}),
) -> None:
    """Replace the checkpoint in `folder`, wholly or not at all.

    Args:
        tensors: by name. record: anything that JSON can hold. files: more files, by name.

    Raises:
        OSError: the files could not be written, the disk being full for example; the older checkpoint is whole.
    """
    _finish_moves(folder)
    new = folder / NEW
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir(parents=True)
        with quiet():
            save_lm(lm, new)
            tokenizer.save_pretrained(new)
        for name, file in {TRAINING: TensorFile(tensors), **files}.items():
            kept = {key: tensor.detach().contiguous().cpu() for key, tensor in file.tensors.items()}
            save_file(kept, new / name, file.metadata or None)
        written = {str(path.relative_to(new)): _fingerprint(path) for path in _files(new)}
        listed = {"algorithm_files": list(files)} if files else {}
        text = json.dumps({"format": FORMAT, **record, **listed, "files": written}, indent=2, allow_nan=False)
        (new / RECORD).write_text(text + "\n", encoding="utf-8")
        mode = (new / RECORD).stat().st_mode
        for path in _files(new):
            path.chmod(mode)  # safetensors writes files that nobody else may read
            _flush(path)
        _flush(new)
        os.rename(new, folder / WHOLE)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        needed = sum(t.nbytes for t in (*lm.parameters(), *tensors.values()))
        raise OSError(
            f"the checkpoint could not be written to {folder}: {error}. It needs about {_megabytes(needed)}, "
            f"{_free(folder)} are free. "
            + ("The older checkpoint there is whole: make room and resume." if has_checkpoint(folder) else "Make room.")
        ) from error
    _finish_moves(folder)


def open_checkpoint(folder: Path, *, training: bool = True) -> Checkpoint:
    """The checkpoint in `folder`, after a look at every file it consists of.

    Args:
        training: whether the algorithm's state is wanted; False does not look at its file.

    Raises:
        FileNotFoundError: nothing was ever saved there.
        ValueError: a file is damaged or missing, or the format is another version's; the message says which.
    """
    seen: dict[str, Any] | None = None
    while True:
        _finish_moves(folder)
        record = _read_record(folder)
        fault = next(_faults(folder, record, training), None)
        if fault is None:
            return Checkpoint(folder, record)
        if record == seen:
            raise ValueError(fault)
        seen = record  # a training process may have saved while we looked: then the record has changed, too


def _read_tensor_file(path: Path) -> TensorFile:
    with safe_open(path, framework="pt") as file:
        return TensorFile({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118


def _finish_moves(folder: Path) -> None:
    """Put the files of a committed checkpoint in their places. Several processes may do so at a time."""
    whole = folder / WHOLE
    if not whole.is_dir():
        return
    for path in sorted(_files(whole), key=lambda path: path.name == RECORD):
        target = folder / path.relative_to(whole)
        target.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.replace(path, target)
    # rmdir spares a folder that is not empty: the next checkpoint, if the training process has just committed it.
    for emptied in (*(path for path in whole.glob("*") if path.is_dir()), whole):
        with contextlib.suppress(OSError):
            emptied.rmdir()
    _flush(folder)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {RECORD} in it")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version, _ = record["format"], record["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): {_remedy(folder, RECORD)}") from error
    if version == 1:
        return _of_format_1(record)
    if version != FORMAT:
        raise ValueError(
            f"{path} has format {version}, this version of dyngen reads {FORMAT} and older: use the one that made it"
        )
    return record


def _of_format_1(record: dict[str, Any]) -> dict[str, Any]:
    """A record of format 1 as one of today's. It named β of PPO and REINFORCE, which counted updates as the run did."""
    state = {"kl_control": record["kl_control"], "updates": record["iteration"]}
    return {**record, "format": FORMAT, "algorithm_state": state}


def _faults(folder: Path, record: dict[str, Any], training: bool) -> Iterator[str]:
    """What is wrong with the files, one sentence each."""
    for name, expected in record["files"].items():
        if name == TRAINING and not training:
            continue
        path = folder / name
        found = _fingerprint(path) if path.is_file() else None
        if found is None:
            yield f"{path} is missing: {_remedy(folder, name)}"
        elif found["bytes"] != expected["bytes"]:
            yield f"{path} is damaged ({found['bytes']} bytes, expected {expected['bytes']}): {_remedy(folder, name)}"
        elif found != expected:
            yield f"{path} is damaged (its SHA-256 is not the one in {RECORD}): {_remedy(folder, name)}"


def _remedy(folder: Path, name: str) -> str:
    if name == TRAINING:
        return f"the run cannot go on, but its model is whole: start a new run from it with model={str(folder)!r}"
    return "put back a copy of that file, or train again into another folder"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    """Have a file, or a folder's list of names, on the disk and not only in the system's memory."""
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot open folders, and keeps their lists itself
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(folder: Path) -> str:
    try:
        return _megabytes(shutil.disk_usage(folder).free)
    except OSError:
        return "an unknown amount"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
