"""Pure scores of text, used by rewards, users and evaluation."""
