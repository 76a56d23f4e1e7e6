"""The token MDP: its state, its dynamics as pure functions on batched tensors, and what each token does."""

from dyngen_env.mdp.dynamics import Rules, append, forget, fork, hear, initial, put, restart, take_back

__all__ = ["Rules", "append", "forget", "fork", "hear", "initial", "put", "restart", "take_back"]
