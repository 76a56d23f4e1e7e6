"""Trained against untrained: measures and samples on prompts that were not trained on."""
