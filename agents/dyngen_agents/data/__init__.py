"""Episodes as data: trajectories, the rollouts that make them, and how updates cut them into batches."""
