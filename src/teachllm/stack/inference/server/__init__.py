"""An OpenAI-compatible server over the engine: ``teachllm serve``."""

from teachllm.stack.inference.server.app import create_app
from teachllm.stack.inference.server.serving import ServerLimits

__all__ = ["ServerLimits", "create_app"]
