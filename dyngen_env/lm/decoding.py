"""Text generation for prompts: greedy decoding, sampling and beam search.

All three use the cached engine, the token MDP and the distribution that environments and policies use, so a banned word
or an end of turn means the same here.
"""

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
    engine: Engine | None = None,
) -> list[list[str]]:
    """Let a language model continue each prompt.

    Args:
        model: the language model, for example from `load_model`.
        tokenizer: its tokenizer; `text.adapted(load_tokenizer(name))` makes one.
        decode: "greedy" takes the most likely token each time, "beam" looks for the most likely texts with `num_beams`
            beams, "sample" draws tokens.
        max_new_tokens: the most tokens that a completion may have.
        temperature, top_k, top_p: how "sample" draws, see `SamplingConfig`; temperature 0 is "greedy".
        num_beams: how many texts beam search keeps at a time.
        n: how many completions each prompt gets: draws of "sample", or the n best of "beam", best first.
        seed: makes sampling repeatable: equal seeds and equal prompts give equal texts.
        stop: texts that end a completion where they occur in it.
        banned: words that are not written in any decoding, or a `.txt` file with one on each line, as for an env.
        engine: what gives the next logits; None is a new one of the model.

    Returns:
        For each prompt its `n` completions, without the prompt, cut before a stop string.

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
    engine = Engine(model) if engine is None else engine
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
    """Append tokens to B rows until all have ended.

    Args:
        state: the rows. rules: what ends them. distribution: which tokens may follow, and how likely each is.
        seed: of the sampling; None takes the most likely token each time.
    """
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
    """Beam search: the state of B * num_beams rows, the beams of a prompt side by side, best first.

    A beam's score is its mean log-probability per token under the distribution: length normalisation as in Wu et al.
    2016, eq. 14, with α = 1 and without its constant. A beam that has ended keeps its score and competes with those
    that go on. Beams are forks of the state and of the engine's cache, so no token is run twice.

    Args:
        state: the B rows to continue. rules: what ends them. distribution: which tokens may follow.
        num_beams: how many beams each row has.
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
