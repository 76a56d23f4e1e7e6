"""Tiny random causal LMs of several architectures, for tests of what must not depend on the architecture."""

from __future__ import annotations

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 97


def tiny_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model in eval mode; the global generator is left as it was."""
    small = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    grouped = dict(small, intermediate_size=64, num_key_value_heads=2, max_position_embeddings=64)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        match name:
            case "gpt2":
                size = dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
                model = GPT2LMHeadModel(GPT2Config(**size, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
            case "llama":
                model = LlamaForCausalLM(LlamaConfig(**grouped))
            case "qwen2":
                model = Qwen2ForCausalLM(Qwen2Config(**grouped))
            case "mistral-sliding":
                model = MistralForCausalLM(MistralConfig(**grouped, sliding_window=8))
            case "gemma2":  # full and sliding layers by turns, logits capped
                window = dict(sliding_window=6, head_dim=8, final_logit_softcapping=2.0)
                model = Gemma2ForCausalLM(Gemma2Config(**grouped, **window))
            case "gpt-neox":
                model = GPTNeoXForCausalLM(GPTNeoXConfig(**small, intermediate_size=64, max_position_embeddings=64))
            case "opt":
                size = dict(ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=64, dropout=0.0)
                model = OPTForCausalLM(OPTConfig(**small, **size))
            case _:
                raise ValueError(name)
        for p in model.parameters():  # far from the tiny defaults, so that logits differ visibly
            torch.nn.init.normal_(p, std=0.3 if p.dim() > 1 else 0.1)
    return model.eval()
