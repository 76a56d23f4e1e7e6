"""Low-rank adapters (LoRA) by PEFT: few weights learn beside frozen ones; switched off, the model is its base again.

Hu et al. 2022, "LoRA": y = W x + (α/r) B A x, with W frozen, A (r, in) random, B (out, r) zero at first. So the policy
begins as the base, and one copy of the base serves as policy and as the reference it is held to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dyngen_env.lm.loading.quiet import quiet
from dyngen_env.lm.modalities import detached_encoder, encoder_of, save_encoder
from dyngen_env.lm.modalities.multimodal import sees_by_itself

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER, WEIGHTS = "adapter", "adapter_model.safetensors"  # the second is PEFT's name
PREFIX = "base_model.model."  # of the names in a file of PEFT's


def add_lora(lm: PreTrainedModel, rank: int, seed: int) -> None:
    """Freeze a model and add adapters to all its linear layers but the head. B is zero, so its output does not change.

    An encoder of pictures and sounds has no adapters and is frozen: the reference, which is the base, has the same one.
    All linear layers, as Dettmers et al. 2023 found necessary; α = 2r, as Biderman et al. 2024 advise. The adapters are
    float32 whatever the base is.

    Args:
        rank: r. seed: of the random matrices A.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: PEFT cannot put adapters on this model, or not such as could be saved.
    """
    peft = _peft()
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    config.base_model_name_or_path = lm.name_or_path
    if encoder := encoder_of(lm):
        encoder.requires_grad_(False)
    with detached_encoder(lm):
        problem = _inject(peft, config, lm, seed)
    if problem:
        raise ValueError(f"no LoRA for {type(lm).__name__}: {problem}. Train it whole, without lora_rank")
    for parameter in lm.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _inject(peft: ModuleType, config: Any, lm: PreTrainedModel, seed: int) -> str:
    """Add adapters; why they could not be used, or ""."""
    weights = set(lm.state_dict())
    with quiet(), torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            # Not `lm.add_adapter`, which does the same but refuses every PEFT older than the one released beside it.
            peft.inject_adapter_in_model(config, lm)
            return _problem(lm, weights)
        except Exception as error:  # PEFT raises whatever an architecture leads it to
            return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@torch.no_grad()
def _problem(lm: PreTrainedModel, weights: set[str]) -> str:
    """Why new adapters could not be used, saved or loaded; "" if they can.

    Args:
        weights: names of the base's.
    """
    unknown = sorted(set(_adapters(lm)) - weights)
    if unknown:
        return f"PEFT adapts {unknown[0]}, which is no weight of the model"
    peft = _peft()
    loaded = peft.set_peft_model_state_dict(lm, peft.get_peft_model_state_dict(lm, save_embedding_layers=False))
    if loaded.unexpected_keys:
        return f"PEFT does not find {loaded.unexpected_keys[0]} again when it loads adapters"
    lm(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=lm.device), use_cache=False)
    return ""


def load_lora(lm: PreTrainedModel, run: Path) -> None:
    """Load into the adapters of `lm`, made by `add_lora`, the weights that `save_lm` has written to a run's folder."""
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in load_file(run / FOLDER / WEIGHTS).items()}
    _peft().set_peft_model_state_dict(lm, tensors)


def has_lora(lm: PreTrainedModel) -> bool:
    """Whether the model has adapters."""
    return hasattr(lm, "peft_config")


@contextmanager
def base_of(lm: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Switch the adapters of `lm` off within the `with` block. A model without adapters is its own base."""
    if not has_lora(lm):
        yield lm
        return
    layers = _adapters(lm).values()
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield lm
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def save_lm(lm: PreTrainedModel, folder: Path) -> None:
    """Write a model to a folder in Hugging Face's format.

    A model with adapters is written twice: whole, with the adapters merged into the weights, for `from_pretrained`; and
    the adapters alone, in adapter/ as PEFT writes them. Training goes on from the second, since merging rounds. An
    encoder of pictures and sounds has files of its own (`lm.modalities.folder`).
    """
    with detached_encoder(lm) as encoder:
        _save_words(lm, folder)
    if encoder is not None and not sees_by_itself(lm):
        save_encoder(encoder, folder)


def _save_words(lm: PreTrainedModel, folder: Path) -> None:
    """Write a model that has no encoder."""
    if not has_lora(lm):
        lm.save_pretrained(folder)
        return
    with torch.device("meta"):
        plain = type(lm)(lm.config)  # a skeleton; tensors of the base are assigned, not copied
    plain.load_state_dict(merged(lm), assign=True)
    plain.tie_weights()
    plain.generation_config = lm.generation_config
    plain.save_pretrained(folder)
    adapter = _peft().get_peft_model_state_dict(lm, save_embedding_layers=False)
    (folder / FOLDER).mkdir()
    save_file({PREFIX + name: t.contiguous().cpu() for name, t in adapter.items()}, folder / FOLDER / WEIGHTS)
    lm.peft_config["default"].save_pretrained(folder / FOLDER)


@torch.no_grad()
def merged(lm: PreTrainedModel) -> dict[str, Tensor]:
    """The weights, by the base's names, of a model without adapters that computes what `lm` does: W + (α/r) B A."""
    out = {_base_name(name): tensor for name, tensor in lm.state_dict().items() if ".lora_" not in name}
    for name, layer in _adapters(lm).items():
        out[name] = (out[name].float() + layer.get_delta_weight("default")).to("cpu", out[name].dtype)
    return out


def _adapters(lm: PreTrainedModel) -> dict[str, Any]:
    """PEFT's layers by the name that the base has for the weight which each of them adapts.

    Of a linear layer that is its `weight`; of a mixture of experts, a parameter (experts, out, in), and PEFT wraps one
    layer around another where the experts have two of them.
    """
    return {
        f"{_base_name(name)}.{getattr(module, 'parameter_name', 'weight')}": module
        for name, module in lm.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def _base_name(name: str) -> str:
    """What the base, before it had adapters, called a module or weight: PEFT moves it to `base_layer` of its own."""
    return name.replace(".base_layer", "")


def _peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise ImportError("lora_rank needs PEFT: pip install peft") from error
    return peft
