"""A run: its settings, its folder, its checkpoint, its environment, its learner."""
