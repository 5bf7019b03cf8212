"""Late interaction: a vector for every token, of passages ahead of time, and the query's tokens find their
best.
"""

from teachllm.stack.retrieval.late_interaction.compression import ResidualCodec
from teachllm.stack.retrieval.late_interaction.index import LateInteractionIndex
from teachllm.stack.retrieval.late_interaction.maxsim import maxsim, maxsim_scores
from teachllm.stack.retrieval.late_interaction.tokens import TokenEncoder

__all__ = ["LateInteractionIndex", "ResidualCodec", "TokenEncoder", "maxsim", "maxsim_scores"]
