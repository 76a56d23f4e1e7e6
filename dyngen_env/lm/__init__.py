"""Running a language model: load one by name, ask for next-token logits with a cache, draw tokens, score them.

    model = load_model("reviews-lm")
    engine = Engine(model)                                   # caches keys and values between calls
    raw = engine.next_logits(tokens, lengths)                # (B, W)
    logits = env.token_distribution().logits(raw, tokens, lengths)        # (B, V), legal tokens only
    chosen, logprobs = sample(logits, uniforms(seed, rows, lengths))      # (B,) each

`generate` does all of that for texts.
"""

from dyngen_env.lm.decoding import generate
from dyngen_env.lm.distribution import SamplingConfig, TokenDistribution
from dyngen_env.lm.engine.engine import Engine
from dyngen_env.lm.engine.heads import hidden_states, lm_head
from dyngen_env.lm.loading.models import context_window, load_config, load_model, load_tokenizer
from dyngen_env.lm.logprobs import completion_logprobs
from dyngen_env.lm.sampling import greedy, sample, uniforms

__all__ = [
    "Engine",
    "SamplingConfig",
    "TokenDistribution",
    "completion_logprobs",
    "context_window",
    "generate",
    "greedy",
    "hidden_states",
    "lm_head",
    "load_config",
    "load_model",
    "load_tokenizer",
    "sample",
    "uniforms",
]
