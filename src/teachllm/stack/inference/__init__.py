"""Text from a model: sampling, searching, generation with a KV cache, and the local chat model."""

from teachllm.stack.inference.beam_search import beam_search
from teachllm.stack.inference.contrastive_search import contrastive_search
from teachllm.stack.inference.generation import End, Piece, generate, generate_tokens
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.inference.local_chat import LocalChatModel
from teachllm.stack.inference.sampling import (
    Sampling,
    choose_token,
    min_p,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
    typical_p,
)
from teachllm.stack.inference.stop_strings import StopStrings

__all__ = [
    "End",
    "LanguageModel",
    "LocalChatModel",
    "Piece",
    "Sampling",
    "StopStrings",
    "beam_search",
    "choose_token",
    "contrastive_search",
    "generate",
    "generate_tokens",
    "load_language_model",
    "min_p",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
]
