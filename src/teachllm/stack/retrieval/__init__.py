"""Retrieval: which of many texts answer a question, by their words or by vectors of what they mean."""
