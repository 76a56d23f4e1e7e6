"""Pictures, speech and mixed tasks, measured: `python -m benchmarks.modalities PART`."""
