"""What each way to use feedback is worth: `python -m benchmarks.fusion PART`, a file a part."""
