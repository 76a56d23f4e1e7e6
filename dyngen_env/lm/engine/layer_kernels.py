"""RMS norms and rotary positions as one Triton kernel each, where transformers' formulas are eight and ten.

They round where those round, so that in half precision, too, a step chooses by the logits that an update computes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _rms_norm(x, weight, out, x_row, eps, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < SIZE
    values = tl.load(x + row * x_row + at, mask=inside, other=0.0)
    wide = values.to(tl.float32)
    normed = wide * tl.rsqrt(tl.sum(wide * wide, 0) / SIZE + eps)
    scale = tl.load(weight + at, mask=inside, other=0.0)
    rounded = normed.to(values.dtype).to(tl.float32)
    tl.store(out + row * SIZE + at, (rounded * scale.to(tl.float32)).to(out.dtype.element_ty), mask=inside)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """weight * x / sqrt(mean(x²) + eps) over the last dimension, D, of x (..., D) (Zhang and Sennrich 2019)."""
    size = x.shape[-1]
    rows = x.reshape(-1, size)
    out = torch.empty(rows.shape, dtype=torch.promote_types(x.dtype, weight.dtype), device=x.device)
    block = triton.next_power_of_2(size)
    _rms_norm[(len(rows),)](rows, weight, out, rows.stride(0), eps, SIZE=size, BLOCK=block, num_warps=4)
    return out.view(x.shape)


@triton.jit
def _rotate(
    query, key, cos, sin, query_out, key_out, query_row, query_head, key_row, key_head, cos_row, sin_row,
    HEADS: tl.constexpr, SHARED: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = tl.arange(0, BLOCK)
    inside = at < HALF
    if head < HEADS:
        source, target = query + row * query_row + head * query_head, query_out + (row * HEADS + head) * 2 * HALF
    else:
        own = head - HEADS
        source, target = key + row * key_row + own * key_head, key_out + (row * SHARED + own) * 2 * HALF
    first, second = tl.load(source + at, mask=inside), tl.load(source + HALF + at, mask=inside)
    dtype = first.dtype
    a, b = first.to(tl.float32), second.to(tl.float32)
    cos_a = tl.load(cos + row * cos_row + at, mask=inside).to(tl.float32)
    cos_b = tl.load(cos + row * cos_row + HALF + at, mask=inside).to(tl.float32)
    sin_a = tl.load(sin + row * sin_row + at, mask=inside).to(tl.float32)
    sin_b = tl.load(sin + row * sin_row + HALF + at, mask=inside).to(tl.float32)
    turned_a = (a * cos_a).to(dtype).to(tl.float32) - (b * sin_a).to(dtype).to(tl.float32)
    turned_b = (b * cos_b).to(dtype).to(tl.float32) + (a * sin_b).to(dtype).to(tl.float32)
    tl.store(target + at, turned_a.to(dtype), mask=inside)
    tl.store(target + HALF + at, turned_b.to(dtype), mask=inside)


def rotate(
    query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotary positions (Su et al. 2021) of queries (B, H, 1, D) and keys (B, G, 1, D), whose halves are the pairs.

    cos, sin: (B, 1, D), of each row's position and the precision of the queries.
    """
    rows, heads, _, dim = query.shape
    shared, half = key.shape[1], dim // 2
    query_out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    key_out = torch.empty(key.shape, dtype=key.dtype, device=key.device)
    _rotate[(rows, heads + shared)](
        query, key, cos, sin, query_out, key_out, query.stride(0), query.stride(1), key.stride(0), key.stride(1),
        cos.stride(0), sin.stride(0), HEADS=heads, SHARED=shared, HALF=half, BLOCK=triton.next_power_of_2(half),
        num_warps=1,
    )  # fmt: skip
    return query_out, key_out
