"""The course's embedding model, for figures and labs: loaded once, whichever lessons look into it."""

from __future__ import annotations

import functools

from teachllm.school.figures.failure import CannotRun
from teachllm.school.language import Both
from teachllm.stack.data.assets import AssetMissing
from teachllm.stack.retrieval.embedding import EmbeddingModel, load_embedding_model

EMBEDDER = "all-minilm-l6-v2"


@functools.cache
def embedder() -> EmbeddingModel:
    """all-MiniLM-L6-v2, trained on English pairs. Raises :class:`CannotRun` while its files are not there."""
    try:
        return load_embedding_model(EMBEDDER)
    except AssetMissing as missing:
        fetch = f"teachllm assets fetch {EMBEDDER}"
        raise CannotRun(
            Both(
                f"课程的嵌入模型不在这台电脑上，或者文件坏了。到“设置”里下载，或在终端运行：{fetch}",
                "The embedding model of the course is not on this computer, or its file is damaged. "
                f"Fetch it in the settings, or in a terminal: {fetch}",
            )
        ) from missing
