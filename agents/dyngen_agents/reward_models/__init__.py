"""Reward models trained from what people prefer."""
