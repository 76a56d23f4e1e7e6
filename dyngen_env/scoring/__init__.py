"""Scores of text as pure functions, which rewards, simulated users and evaluation share."""
