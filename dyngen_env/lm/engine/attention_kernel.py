"""Attention of one query position a row as a Triton kernel: of each row's cached keys it reads those that are filled.

One program computes all query heads that share a key head, so keys and values are read once. The softmax is computed
block by block (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax").
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 64  # cached positions at a time


@triton.jit
def _attend(
    query, key, value, out, lengths, query_row, query_head, key_row, key_head, key_at, value_row, value_head, value_at,
    scale, SHARING: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    length = tl.load(lengths + row)
    at, column = tl.arange(0, PADDED), tl.arange(0, WIDTH)
    inside = (column < DIM)[None, :]
    mine = (at < SHARING)[:, None] & inside
    heads = (head * SHARING + at)[:, None]
    queries = tl.load(query + row * query_row + heads * query_head + column[None, :], mask=mine, other=0.0)
    highest = tl.full((PADDED,), -1e30, tl.float32)
    total = tl.zeros((PADDED,), tl.float32)
    mixed = tl.zeros((PADDED, WIDTH), tl.float32)
    for start in range(0, length, BLOCK):
        position = start + tl.arange(0, BLOCK)
        filled = position < length
        there = filled[:, None] & inside
        keys = tl.load(
            key + row * key_row + head * key_head + position[:, None] * key_at + column[None, :], mask=there, other=0.0
        )
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        scores = tl.where(filled[None, :], scores, -1e30)
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        weights, shrink = tl.exp(scores - new_highest[:, None]), tl.exp(highest - new_highest)
        values = tl.load(
            value + row * value_row + head * value_head + position[:, None] * value_at + column[None, :],
            mask=there, other=0.0,
        )  # fmt: skip
        mixed = mixed * shrink[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        highest = new_highest
    # Rows of `out` (B, H, D) are contiguous.
    where = out + (row * tl.num_programs(1) * SHARING + heads) * DIM + column[None, :]
    tl.store(where, (mixed / total[:, None]).to(out.dtype.element_ty), mask=mine)


@torch.library.custom_op("dyngen::attend", mutates_args=())
def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention (B, H, D) of queries (B, H, D) over the first lengths (B,) int32 of keys and values (B, G, E, D).

    G divides H; the key head g serves the query heads g H/G to (g + 1) H/G - 1. Last dimensions are contiguous.
    """
    rows, heads, dim = query.shape
    shared = key.shape[1]
    out = torch.empty((rows, heads, dim), dtype=query.dtype, device=query.device)
    _attend[(rows, shared)](
        query, key, value, out, lengths, query.stride(0), query.stride(1), *key.stride()[:3], *value.stride()[:3],
        scale, SHARING=heads // shared, PADDED=max(16, triton.next_power_of_2(heads // shared)), DIM=dim,
        WIDTH=max(16, triton.next_power_of_2(dim)), BLOCK=BLOCK, num_warps=2 if dim <= 64 else 4,
    )  # fmt: skip
    return out


@attend.register_fake
def _(query, key, value, lengths, scale):
    return torch.empty(query.shape, dtype=query.dtype, device=query.device)
