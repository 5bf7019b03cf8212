"""Evaluation: how good a language model is, measured on tasks."""
