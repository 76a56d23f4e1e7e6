"""Tiny random causal LMs of as many architectures of transformers as differ in how they are run."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 96
_SIZE: dict[str, Any] = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
_SIZE |= dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
_LLAMA = dict(_SIZE, intermediate_size=48, num_key_value_heads=2, max_position_embeddings=64)
_BERT = dict(_SIZE, intermediate_size=48, max_position_embeddings=64)
_BART = dict(vocab_size=VOCABULARY, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48)
_BART |= dict(encoder_layers=2, encoder_attention_heads=4, max_position_embeddings=64, pad_token_id=0, bos_token_id=1)
_BART |= dict(eos_token_id=2, decoder_start_token_id=2)
_MOE = dict(_LLAMA, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2, head_dim=8)
_MLA = dict(_LLAMA, num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4)
_MLA |= dict(v_head_dim=8, head_dim=4, n_routed_experts=4, n_group=1, topk_group=1, moe_intermediate_size=16)
_MLA |= dict(num_experts_per_tok=2, first_k_dense_replace=1)
_LONGROPE = dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0] * 4, long_factor=[4.0] * 4)
_LONGROPE |= dict(original_max_position_embeddings=16)

# name: (class, configuration). Windows and other lengths are shorter than the rows of the tests.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)),
    "gpt-neo": (
        "GPTNeoForCausalLM",
        dict(vocab_size=VOCABULARY, hidden_size=32, num_layers=2, num_heads=4, max_position_embeddings=64)
        | dict(attention_types=[[["global", "local"], 1]], window_size=8),
    ),
    "gpt-neox": ("GPTNeoXForCausalLM", dict(_SIZE, intermediate_size=48, max_position_embeddings=64)),
    "gptj": (
        "GPTJForCausalLM",
        dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
    ),
    "gpt-bigcode": (
        "GPTBigCodeForCausalLM",
        dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4),
    ),
    "openai-gpt": ("OpenAIGPTLMHeadModel", dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)),
    "ctrl": ("CTRLLMHeadModel", dict(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, dff=48)),
    "llama": ("LlamaForCausalLM", _LLAMA),
    "llama, leftover window": ("LlamaForCausalLM", dict(_LLAMA, sliding_window=8)),
    "llama, dynamic rope": (
        "LlamaForCausalLM",
        dict(_LLAMA, max_position_embeddings=16, rope_parameters=dict(rope_type="dynamic", rope_theta=1e4, factor=4.0)),
    ),
    "mistral": ("MistralForCausalLM", dict(_LLAMA, sliding_window=8)),
    "mixtral": ("MixtralForCausalLM", dict(_LLAMA, num_local_experts=4, sliding_window=8)),
    "qwen2, window off": ("Qwen2ForCausalLM", dict(_LLAMA, sliding_window=8, use_sliding_window=False)),
    "qwen2, window on": (
        "Qwen2ForCausalLM",
        dict(_LLAMA, sliding_window=8, use_sliding_window=True, max_window_layers=1),
    ),
    "qwen3-moe": ("Qwen3MoeForCausalLM", _MOE),
    "phi3": ("Phi3ForCausalLM", dict(_LLAMA, sliding_window=8)),
    "phi3, longrope": ("Phi3ForCausalLM", dict(_LLAMA, rope_parameters=_LONGROPE, original_max_position_embeddings=16)),
    "gemma2": ("Gemma2ForCausalLM", dict(_LLAMA, sliding_window=6, head_dim=8, final_logit_softcapping=2.0)),
    "gemma3": (
        "Gemma3ForCausalLM",
        dict(_LLAMA, sliding_window=6, head_dim=8, layer_types=["sliding_attention", "full_attention"]),
    ),
    "cohere": ("CohereForCausalLM", dict(_LLAMA, logit_scale=0.25)),
    "granite": ("GraniteForCausalLM", dict(_LLAMA, logits_scaling=3.0, residual_multiplier=0.5)),
    "deepseek-v3": ("DeepseekV3ForCausalLM", _MLA),
    "opt": ("OPTForCausalLM", dict(_SIZE, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64)),
    "opt-350m": (
        "OPTForCausalLM",
        dict(_SIZE, ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False, max_position_embeddings=64),
    ),
    "bloom": ("BloomForCausalLM", dict(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)),
    "falcon": ("FalconForCausalLM", _SIZE),
    "falcon, alibi": ("FalconForCausalLM", dict(_SIZE, alibi=True)),
    "mpt": ("MptForCausalLM", dict(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=64)),
    "xglm": (
        "XGLMForCausalLM",
        dict(
            vocab_size=VOCABULARY, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48, max_position_embeddings=64
        ),
    ),
    "bart": ("BartForCausalLM", _BART),
    "mbart": ("MBartForCausalLM", _BART),
    "pegasus": ("PegasusForCausalLM", _BART),
    "trocr": ("TrOCRForCausalLM", _BART),
    "mamba": ("MambaForCausalLM", dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8)),
    "rwkv": (
        "RwkvForCausalLM",
        dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32),
    ),
    "bert": ("BertLMHeadModel", _BERT),
    "bert, decoder": ("BertLMHeadModel", dict(_BERT, is_decoder=True)),
    "roberta": ("RobertaForCausalLM", _BERT),
    "roberta, decoder": ("RobertaForCausalLM", dict(_BERT, is_decoder=True)),
    "electra": ("ElectraForCausalLM", dict(_BERT, embedding_size=32)),
    "modernbert-decoder": ("ModernBertDecoderForCausalLM", dict(_BERT, cls_token_id=1, sep_token_id=2)),
    "recurrent-gemma": (
        "RecurrentGemmaForCausalLM",
        dict(_SIZE, intermediate_size=48, lru_width=32, head_dim=8, attention_window_size=8, num_key_value_heads=1),
    ),
    "xlnet": ("XLNetLMHeadModel", dict(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=48)),
    "reformer": (
        "ReformerModelWithLMHead",
        dict(vocab_size=VOCABULARY, hidden_size=32, attention_head_size=16, num_attention_heads=2, is_decoder=True)
        | dict(attn_layers=["local", "lsh"], feed_forward_size=48, local_attn_chunk_length=8, lsh_attn_chunk_length=8)
        | dict(num_buckets=2, axial_pos_shape=[8, 8], axial_pos_embds_dim=[16, 16], max_position_embeddings=64),
    ),
}


def tiny(name: str, spread: float = 0.25, seed: int = 0, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """A random model of an architecture in eval mode; the global generator is left as it was.

    `spread`: the standard deviation of its matrices, so large that logits differ visibly.
    """
    kind, settings = ARCHITECTURES[name]
    cls = getattr(transformers, kind)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cls(cls.config_class(**settings | {"vocab_size": vocabulary}))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=spread)
    return model.eval()
