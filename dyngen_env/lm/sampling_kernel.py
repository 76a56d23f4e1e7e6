"""One Triton kernel for temperature, legal tokens, a draw and its log-prob, which reads logits once and writes none.

One program serves one row. It takes the row block by block and keeps of each block its highest logit and the sum of
its exponentials relative to that (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"). These few
numbers give the normaliser and the block in which the cumulative distribution passes the uniform number; that block
alone is read again.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

LARGEST_BLOCK = 4096  # tokens at a time


@triton.jit
def _scaled(logits, legal, at, temperature, SIZE: tl.constexpr, RESTRICTED: tl.constexpr):
    """Logits of the tokens `at`, divided by the temperature; -inf beyond the last token and where it is illegal."""
    there = at < SIZE  # the mask of both loads: one that differs from token to token would make them single
    values = tl.load(logits + at, mask=there, other=-float("inf")).to(tl.float32)
    if RESTRICTED:
        values = tl.where(tl.load(legal + at, mask=there, other=0) != 0, values, -float("inf"))
    return values / temperature


@triton.jit
def _first_beyond(cumulative, weights, threshold, at, COUNT: tl.constexpr):
    """The first place where the cumulative weights pass a threshold, never one without weight.

    Sums round, so that none may pass it: then the last place with weight.
    """
    possible = weights > 0
    first = tl.min(tl.where(possible & (cumulative > threshold), at, COUNT), 0)
    last = tl.max(tl.where(possible, at, 0), 0)
    return tl.where(first < COUNT, first, last)


@triton.jit
def _draw(
    logits, legal, uniform, tokens, logprobs, logits_row, temperature,
    SIZE: tl.constexpr, RESTRICTED: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    mine, at, block = logits + row * logits_row, tl.arange(0, BLOCK), tl.arange(0, BLOCKS)
    highest = tl.full((BLOCKS,), -float("inf"), tl.float32)
    sums = tl.zeros((BLOCKS,), tl.float32)
    for i in range(0, (SIZE + BLOCK - 1) // BLOCK):
        x = _scaled(mine, legal, i * BLOCK + at, temperature, SIZE, RESTRICTED)
        high = tl.max(x, 0)
        relative = x - tl.where(high > -float("inf"), high, 0.0)  # a block may have no legal token
        highest = tl.where(block == i, high, highest)
        sums = tl.where(block == i, tl.sum(tl.exp(relative), 0), sums)
    peak = tl.max(highest, 0)
    weights = sums * tl.exp(highest - peak)  # (BLOCKS,), each block's share times the total
    upto = tl.cumsum(weights, 0)
    total = tl.max(upto, 0)  # the end of the cumulative distribution; their sum could round otherwise
    threshold = tl.load(uniform + row) * total
    chosen = _first_beyond(upto, weights, threshold, block, BLOCKS)
    before = tl.sum(tl.where(block == chosen - 1, upto, 0.0), 0)
    after = tl.sum(tl.where(block == chosen, upto, 0.0), 0)
    x = _scaled(mine, legal, chosen * BLOCK + at, temperature, SIZE, RESTRICTED)
    inside = tl.exp(x - peak)
    within = tl.cumsum(inside, 0)
    # As a share of the block, whose two sums round differently: else its last token would get what they differ by.
    rest = (threshold - before) / (after - before) * tl.max(within, 0)
    place = _first_beyond(within, inside, rest, at, BLOCK)
    tl.store(tokens + row, (chosen * BLOCK + place).to(tl.int64))
    tl.store(logprobs + row, tl.sum(tl.where(at == place, x, 0.0), 0) - peak - tl.log(total))


@torch.library.custom_op("dyngen::fused_sample", mutates_args=())
def fused_sample(
    logits: torch.Tensor, legal: torch.Tensor | None, uniform: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `warp_logits` at a temperature above 0 and then `sampling.sample` give, without a tensor (B, V) between.

    A token differs from theirs only where rounding moves a boundary of the cumulative distribution.

    Args:
        logits: (B, W) float32, bfloat16 or float16, raw. Its last dimension is contiguous.
        legal: (V,) bool, V <= W; None: all W tokens are.
        uniform: (B,) float32 in [0, 1).
        temperature: above 0.

    Returns:
        tokens (B,) int64 and their log-probs (B,) float32, normalised.
    """
    rows, size = len(logits), logits.shape[1] if legal is None else len(legal)
    block = min(LARGEST_BLOCK, triton.next_power_of_2(size))
    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    logprobs = torch.empty(rows, dtype=torch.float32, device=logits.device)
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        _draw[(rows,)](
            logits, legal, uniform, tokens, logprobs, logits.stride(0), temperature, SIZE=size,
            RESTRICTED=legal is not None, BLOCK=block, BLOCKS=triton.next_power_of_2(triton.cdiv(size, block)),
            num_warps=8 if block >= 2048 else 4,
        )  # fmt: skip
    return tokens, logprobs


@fused_sample.register_fake
def _(logits, legal, uniform, temperature):
    rows = logits.shape[0]
    return logits.new_empty(rows, dtype=torch.int64), logits.new_empty(rows, dtype=torch.float32)
