"""A serving engine: many requests share one model, one step at a time."""
