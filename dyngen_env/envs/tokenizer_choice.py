"""Which tokenizer an env uses, and whether its contexts fit into the model's window: from `model=`, `tokenizer=`."""

from __future__ import annotations

from typing import Any

from dyngen_env.lm.loading.models import context_window, load_config, load_tokenizer
from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.tokenizer import ByteTokenizer, Tokenizer

_PARTS = ("end_ids", "control_ids", "token_bytes", "encode", "encode_prompt", "encode_opening", "encode_reply")


def choose_tokenizer(model: str | None, tokenizer: Any, context: int) -> tuple[Tokenizer, str | None]:
    """The tokenizer of an env, and the name of its model if it has one. If neither is given, the model is reviews-lm.

    Args:
        model: names a language model; its own tokenizer is used.
        tokenizer: names a model whose tokenizer is used, "bytes", a Hugging Face tokenizer, or an object like
            `text.tokenizer.Tokenizer`.
        context: how many tokens a context of the env has, at most.

    Raises:
        ValueError: both are given and differ, the context is longer than the model's window, the tokenizer has more
            tokens than its model, or `tokenizer` is none.
    """
    if model is not None and tokenizer is not None and tokenizer != model:
        raise ValueError(f"model={model!r} brings its own tokenizer: leave tokenizer={tokenizer!r} out")
    if model is None and tokenizer is None:
        model = "reviews-lm"
    if model is not None:
        return _tokenizer_of(model, context), model
    if isinstance(tokenizer, str):
        return (ByteTokenizer() if tokenizer == "bytes" else adapted(load_tokenizer(tokenizer))), None
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return adapted(tokenizer), None
    missing = [name for name in _PARTS if not hasattr(tokenizer, name)]
    if missing:
        raise ValueError(
            f"tokenizer={tokenizer!r} has no {', '.join(missing)}: expected a name, a Hugging Face tokenizer, or an "
            "object like dyngen_env.text.tokenizer.Tokenizer"
        )
    return tokenizer, None


def _tokenizer_of(model: str, context: int) -> HFTokenizer:
    tokenizer, config = adapted(load_tokenizer(model)), load_config(model)
    window = context_window(config)
    if context > window:
        raise ValueError(f"max_context_tokens={context} exceeds the {window} tokens of model {model!r}: lower it")
    vocabulary = config.get_text_config().vocab_size
    if len(tokenizer) > vocabulary:
        raise ValueError(
            f"the tokenizer of {model!r} has {len(tokenizer)} tokens, its model only {vocabulary}: they do not "
            "belong together"
        )
    return tokenizer
