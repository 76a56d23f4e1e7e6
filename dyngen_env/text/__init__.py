"""Text and token ids: the tokenizer protocol, its adapters, chat templates."""

from dyngen_env.text.huggingface import HFTokenizer, adapted
from dyngen_env.text.tokenizer import ByteTokenizer, Tokenizer, decode, spell

__all__ = ["ByteTokenizer", "HFTokenizer", "Tokenizer", "adapted", "decode", "spell"]
