"""A run that several processes share, and how it is asked to stop."""
