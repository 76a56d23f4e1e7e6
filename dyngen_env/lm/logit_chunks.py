"""How many logits are worked on at a time: what a CPU's caches like, or what a GPU's free memory holds."""

from __future__ import annotations

from typing import NamedTuple

import torch


class LogitChunks(NamedTuple):
    """Numbers of logits, that is of tokens times vocabulary.

    Args:
        computed: at a time.
        kept: for the backward pass; if a batch has more, the backward pass computes its logits again.
        entropy: of which the entropies are computed at a time.
    """

    computed: int
    kept: int
    entropy: int


# 8 MB in float32, which allocators reuse without page faults; 64 MB; and 1 MB, which stays in a core's cache from one
# elementwise pass to the next.
CPU_CHUNKS = LogitChunks(2**21, 2**24, 2**18)

BYTES_PER_LOGIT = 24
"""At the peak of a backward pass: logits in the model's precision and in float32, log-probs, and their gradients."""

ENOUGH_FOR_A_GPU = 2**28
"""5,000 tokens of a vocabulary of 50,000: more at a time is no faster."""


def logit_chunks(device: torch.device) -> LogitChunks:
    """The sizes for a device, as its memory is now."""
    return gpu_chunks(free_memory(device)) if device.type == "cuda" else CPU_CHUNKS


def gpu_chunks(free_bytes: int) -> LogitChunks:
    """The sizes where so much memory is free: a quarter of it, and a power of two, so that runs repeat."""
    affordable = max(CPU_CHUNKS.computed, free_bytes // 4 // BYTES_PER_LOGIT)
    kept = 2 ** (affordable.bit_length() - 1)
    computed = min(kept, ENOUGH_FOR_A_GPU)
    return LogitChunks(computed, kept, computed)


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that torch could give out: what no process has, and what torch's allocator holds unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
