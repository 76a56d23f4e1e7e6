"""The policy: a causal language model that acts and evaluates, its frozen reference, its low-rank adapters."""
