"""Running a language model: loading, next-token logits with a cache, sampling and log-probs."""
