"""Writing with a language model: greedy, sampling and beam search, over the same engine and MDP as everything else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from dyngen_env import mdp
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.loading.models import context_window
from dyngen_env.lm.logprobs import warp_logits
from dyngen_env.lm.sampling import greedy, sample, uniforms
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.rules import token_rules
from dyngen_env.mdp.state import ILLEGAL, TokenState
from dyngen_env.text.tokenizer import Tokenizer

DECODERS = ("greedy", "beam", "sample")


def generate(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    decode: str = "sample",
    max_new_tokens: int = 32,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_beams: int = 4,
    n: int = 1,
    seed: int = 0,
    stop: str | Sequence[str] = (),
) -> list[list[str]]:
    """`n` completions of each prompt, without the prompt, cut before a stop string.

    Args:
        decode: "greedy", "beam" (the n best of `num_beams`, best first) or "sample".
        temperature, top_k, top_p: see `logprobs.warp_logits`; for "sample" only.
        seed: of the sampling; equal seed and batch give equal text.

    Raises:
        ValueError: an unknown decoder, n > 1 with "greedy" (they would be equal), n > num_beams with "beam", no prompt,
            or a prompt that leaves no room in the model's context window.
    """
    if decode not in DECODERS:
        raise ValueError(f"unknown decode={decode!r}: expected one of {', '.join(DECODERS)}")
    if not prompts:
        raise ValueError("no prompts: expected at least one")
    if n < 1 or (decode == "greedy" and n > 1) or (decode == "beam" and n > num_beams):
        raise ValueError(
            f"n={n} completions with decode={decode!r}: greedy has one, beam at most num_beams={num_beams}, sample any"
        )
    rules, strings = token_rules(tokenizer, stop, max_new_tokens, model.device)
    copies = n if decode == "sample" else 1
    state = _begin(tokenizer, prompts, max_new_tokens, context_window(model.config), model.device, copies)
    engine = Engine(model)
    if decode == "beam":
        state = beam_search(engine, state, rules, num_beams)
        copies = num_beams
    else:
        uniform_seed = None if decode == "greedy" else seed
        state = decode_rows(engine, state, rules, uniform_seed, temperature, top_k, top_p)
    texts = completion_texts(tokenizer, state, range(len(state.length)), strings)
    return [texts[i * copies : i * copies + n] for i in range(len(prompts))]


def decode_rows(
    engine: Engine,
    state: TokenState,
    rules: mdp.Rules,
    seed: int | None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> TokenState:
    """Append tokens until every row of `state` has ended: greedily if `seed` is None, else sampled."""
    legal = rules.outcome[0] != ILLEGAL
    rows = torch.arange(len(state.length), device=state.length.device)
    step = torch.zeros_like(rows)
    while bool(state.live.any()):
        logits = engine.next_logits(state.tokens, state.length)
        if seed is None:
            tokens, _ = greedy(warp_logits(logits, legal))
        else:
            tokens, _ = sample(warp_logits(logits, legal, temperature, top_k, top_p), uniforms(seed, rows, step))
        state = mdp.append(state, tokens, rules)
        step = step + 1
    return state


def beam_search(engine: Engine, state: TokenState, rules: mdp.Rules, num_beams: int) -> TokenState:
    """Beam search: (B * num_beams,) rows, each prompt's beams adjacent, best first.

    A beam's score is its mean log-prob per token (length-normalised as in Wu et al. 2016 with α = 1), under the softmax
    over legal tokens; ended beams keep theirs and compete with the live ones. Beams are forks of the state and of the
    engine's rows, so nothing is run twice.
    """
    prompts, device = len(state.length), state.length.device
    legal = rules.outcome[0] != ILLEGAL
    vocabulary = len(legal)
    first = torch.arange(prompts, device=device).repeat_interleave(num_beams)
    state = mdp.fork(state, first)
    total = torch.full((prompts, num_beams), -torch.inf, device=device)  # summed log-probs
    total[:, 0] = 0.0  # equal beams at first: only one of them may branch
    start = state.turn_start
    while bool(state.live.any()):
        logp = warp_logits(engine.next_logits(state.tokens, state.length), legal).log_softmax(-1)
        # An ended beam continues with nothing, at no cost: token 0 stands for that.
        stay = torch.full_like(logp, -torch.inf)
        stay[:, 0] = 0.0
        logp = torch.where(state.live.unsqueeze(1), logp, stay).view(prompts, num_beams, vocabulary)
        grown = (state.length - start + state.live).view(prompts, num_beams, 1).clamp(min=1)
        candidates = (total.unsqueeze(2) + logp) / grown
        _, best = candidates.view(prompts, -1).topk(num_beams, dim=1)
        beam, token = best // vocabulary, best % vocabulary  # (B, num_beams)
        total = (total.unsqueeze(2) + logp).view(prompts, -1).gather(1, best)
        rows = (beam + torch.arange(prompts, device=device).unsqueeze(1) * num_beams).flatten()
        engine.fork(rows)
        state = mdp.append(mdp.fork(state, rows), token.flatten(), rules)
    score = total / (state.length - start).view(prompts, num_beams).clamp(min=1)
    order = score.argsort(dim=1, descending=True, stable=True)
    return mdp.fork(state, (order + torch.arange(prompts, device=device).unsqueeze(1) * num_beams).flatten())


def _begin(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int,
    window: int,
    device: torch.device,
    copies: int,
) -> TokenState:
    ids = [tokenizer.encode_prompt(prompt) for prompt in prompts]
    width = max(map(len, ids)) + max_new_tokens
    if width > window:
        raise ValueError(
            f"the longest prompt has {width - max_new_tokens} tokens; with max_new_tokens={max_new_tokens} that "
            f"exceeds the model's context of {window}: shorten the prompt or lower max_new_tokens"
        )
    tokens = torch.full((len(ids), width), -1)
    for row, prompt in enumerate(ids):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    lengths = torch.tensor([len(prompt) for prompt in ids])
    return mdp.initial(tokens.repeat_interleave(copies, 0).to(device), lengths.repeat_interleave(copies).to(device))
