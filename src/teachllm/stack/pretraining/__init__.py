"""Pretraining: a recipe becomes data, a tokenizer, a trained model and a record of the run."""
