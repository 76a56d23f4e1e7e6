"""Cached forward passes: the next logits of rows that grow, without running their old tokens again."""
