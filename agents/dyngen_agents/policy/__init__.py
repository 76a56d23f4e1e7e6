"""The policy, a causal language model with a value head; its frozen reference model; low-rank adapters (LoRA)."""
