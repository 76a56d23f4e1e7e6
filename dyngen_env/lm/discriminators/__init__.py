"""Discriminators over token ids: they tell what people wrote from what a language model wrote."""
