"""Whether the store of feedback loses anything, and how fast it is: `python -m benchmarks.feedback_store`."""
