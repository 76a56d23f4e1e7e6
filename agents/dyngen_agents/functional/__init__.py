"""The mathematics of the learners as pure functions of tensors: returns, losses, KL control."""
