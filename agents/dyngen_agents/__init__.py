"""Learners that train a causal language model in `dyngen_env`."""
