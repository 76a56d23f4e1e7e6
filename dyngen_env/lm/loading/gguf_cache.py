"""A `.gguf` file as a Hugging Face folder, converted once for each user.

Reading the 98 MB of SmolLM2 takes 20 s on two cores, most of it to unpack the 4-bit weights; its converted folder
loads in one or two. The folder holds the unpacked weights in float32, so it gives exactly what the file gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dyngen_env.user_cache import user_cache

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORMAT = 1  # raise it when the conversion changes, so that older folders are not used

log = logging.getLogger(__name__)


def converted_folder(path: Path) -> Path:
    """The folder that `path` was converted to, under `$XDG_CACHE_HOME/dyngen` (by default `~/.cache/dyngen`).

    It is made if it is not there, and appears whole or not at all: of several processes that convert at the same
    time one wins and the others throw theirs away. Raises OSError if it cannot be written (disk full, read-only).
    """
    folder = user_cache() / f"{path.stem}-{_content_hash(path, path.stat().st_mtime_ns)}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        log.info("converting %s once, to %s", path.name, folder)
        model, tokenizer = read_gguf(path)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def read_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model (float32, CPU) and the tokenizer in a `.gguf` file, without a cache."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that listens to no setting
        model: Any = AutoModelForCausalLM.from_pretrained(dtype=torch.float32, **where)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # The weights are plain numbers now. With the mark left on, a saved copy could not be loaded: transformers
    # would look for the .gguf file in its folder.
    model.config.__dict__.pop("quantization_config", None)
    model.is_quantized, model.hf_quantizer = False, None
    # GGUF keeps the window with the model only, and transformers then says 10^30 tokens.
    tokenizer.model_max_length = model.config.max_position_embeddings
    return model, tokenizer


@cache
def _content_hash(path: Path, modified_ns: int) -> str:
    """Of the content, since a reinstalled package has new times. `modified_ns` only tells `cache` of a change."""
    digest = hashlib.sha256(str(_FORMAT).encode())
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]
