"""TeachLLM: learn large language models from the tokenizer to the agent, on real, tested code."""

__version__ = "0.1.0"
