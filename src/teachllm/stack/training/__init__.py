"""Training: the loop, optimizers, schedules, checkpoints, and what a run costs."""
