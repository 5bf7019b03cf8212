"""Encoders: models that read a whole text at once, in both directions, and give a vector for every token."""
