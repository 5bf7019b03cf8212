"""Weights in fewer bits: what is rounded, how it lies in memory, and what a model loses by it."""
