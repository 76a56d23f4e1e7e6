"""Text and token ids: the tokenizer protocol, its adapters, chat templates."""
