"""The most GPU memory that a run has held: what tells whether a larger model or batch would fit."""

from __future__ import annotations

import torch

PEAK = "peak_memory_gib"


def peak_memory(device: torch.device) -> dict[str, float]:
    """The metric of that name: GiB that tensors have occupied on a GPU at most, so far. On a CPU there is none."""
    if device.type != "cuda":
        return {}
    return {PEAK: round(torch.cuda.max_memory_allocated(device) / 2**30, 3)}


def describe_peak(device: torch.device) -> str:
    """The same in words, with the card's name and memory; empty on a CPU."""
    if device.type != "cuda":
        return ""
    card = torch.cuda.get_device_properties(device)
    used = torch.cuda.max_memory_allocated(device) / 2**30
    return f"peak GPU memory {used:.1f} of {card.total_memory / 2**30:.0f} GiB ({card.name})"
