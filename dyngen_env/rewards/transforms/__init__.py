"""Rewards made of other rewards: clipped, normalised, delayed, shaped."""
