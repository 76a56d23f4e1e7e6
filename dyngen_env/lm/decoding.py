"""Writing with a language model: greedy, sampling and beam search, over the same engine and MDP as everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dyngen_env import mdp
from dyngen_env.arguments import one_of, positive
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.loading.models import context_window
from dyngen_env.lm.sampling import greedy, sample, uniforms
from dyngen_env.mdp.banned import read_words
from dyngen_env.mdp.completions import completion_texts
from dyngen_env.mdp.rules import token_rules
from dyngen_env.mdp.state import TokenState
from dyngen_env.text.padding import pad_rows
from dyngen_env.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    banned: str | Sequence[str] = (),
) -> list[list[str]]:
    """`n` completions of each prompt, without the prompt, cut before a stop string.

    Args:
        decode: "greedy", "beam" (the n best of `num_beams`, best first) or "sample".
        temperature, top_k, top_p: of "sample", see `SamplingConfig`; temperature 0 is "greedy".
        seed: of the sampling; equal seed and batch give equal text.
        banned: words that are not written in any decoding, or a `.txt` file with one a line, as for an env.

    Raises:
        ValueError: an unknown decoder, a number out of its range, n > 1 with "greedy" (they would be equal),
            n > num_beams with "beam", no prompt, or a prompt that leaves no room in the model's context window.
    """
    sampling = SamplingConfig(temperature, top_k, top_p)
    one_of("decode", decode, DECODERS)
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts={prompts!r}: expected a list of at least one text")
    for name, value in (("max_new_tokens", max_new_tokens), ("num_beams", num_beams), ("n", n)):
        positive(name, value)
    if decode == "sample" and temperature == 0:
        decode = "greedy"
    if (decode == "greedy" and n > 1) or (decode == "beam" and n > num_beams):
        raise ValueError(
            f"n={n} completions with decode={decode!r}: greedy has one, beam at most num_beams={num_beams}, sample any"
        )
    plain = TokenDistribution.of(tokenizer, banned=read_words(banned), device=model.device)
    rules, strings = token_rules(tokenizer, stop, max_new_tokens, model.device)
    copies = n if decode == "sample" else 1
    state = _begin(tokenizer, prompts, max_new_tokens, context_window(model.config), model.device, copies)
    engine = Engine(model)
    match decode:
        case "beam":
            state = beam_search(engine, state, rules, plain, num_beams)
            copies = num_beams
        case "greedy":
            state = decode_rows(engine, state, rules, plain, None)
        case _:
            state = decode_rows(engine, state, rules, plain.with_sampling(sampling), seed)
    texts = completion_texts(tokenizer, state, range(len(state.length)), strings)
    return [texts[i * copies : i * copies + n] for i in range(len(prompts))]


def decode_rows(
    engine: Engine, state: TokenState, rules: mdp.Rules, distribution: TokenDistribution, seed: int | None
) -> TokenState:
    """Append tokens until every row of `state` has ended: greedily if `seed` is None, else sampled."""
    rows = torch.arange(len(state.length), device=state.length.device)
    step = torch.zeros_like(rows)
    while bool(state.live.any()):
        raw = engine.next_logits(state.tokens, state.length)
        logits = distribution.logits(raw, state.tokens, state.length)
        tokens, _ = greedy(logits) if seed is None else sample(logits, uniforms(seed, rows, step))
        state = mdp.append(state, tokens, rules)
        step = step + 1
    return state


def beam_search(
    engine: Engine, state: TokenState, rules: mdp.Rules, distribution: TokenDistribution, num_beams: int
) -> TokenState:
    """Beam search: (B * num_beams,) rows, each prompt's beams adjacent, best first.

    A beam's score is its mean log-prob per token (length-normalised as in Wu et al. 2016 with α = 1) under the
    distribution; ended beams keep theirs and compete with the live ones. Beams are forks of the state and of the
    engine's rows, so nothing is run twice.
    """
    prompts, device = len(state.length), state.length.device
    first = torch.arange(prompts, device=device).repeat_interleave(num_beams)
    state = mdp.fork(state, first)
    total = torch.full((prompts, num_beams), -torch.inf, device=device)  # summed log-probs
    total[:, 0] = 0.0  # equal beams at first: only one of them may branch
    start = state.turn_start
    while bool(state.live.any()):
        raw = engine.next_logits(state.tokens, state.length)
        logp = distribution.logits(raw, state.tokens, state.length).log_softmax(-1)
        vocabulary = logp.shape[1]
        # An ended beam continues with nothing, at no cost: token 0 stands for that.
        stay = torch.full_like(logp, -torch.inf)
        stay[:, 0] = 0.0
        logp = torch.where(state.live.unsqueeze(1), logp, stay).view(prompts, num_beams, vocabulary)
        grown = (state.length - start + state.live).view(prompts, num_beams, 1).clamp(min=1)
        candidates = (total.unsqueeze(2) + logp) / grown
        score, best = candidates.view(prompts, -1).topk(num_beams, dim=1)
        # Where there are fewer texts than beams the others repeat the best one: their tokens could not be drawn.
        impossible = score == -torch.inf
        best = torch.where(impossible, best[:, :1], best)
        beam, token = best // vocabulary, best % vocabulary  # (B, num_beams)
        total = (total.unsqueeze(2) + logp).view(prompts, -1).gather(1, best).masked_fill(impossible, -torch.inf)
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
    lengths = torch.tensor([len(prompt) for prompt in ids], device=device).repeat_interleave(copies)
    return mdp.initial(pad_rows(ids, width).repeat_interleave(copies, 0).to(device), lengths)
