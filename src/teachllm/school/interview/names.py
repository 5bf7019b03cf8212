"""What roles, topics and levels of cards are called on the page and in a report."""

from __future__ import annotations

from teachllm.school.glossary import Glossary
from teachllm.school.language import Both

LEVELS = {1: Both("基础", "basic"), 2: Both("中等", "middling"), 3: Both("深入", "deep")}
_ROLES = {
    "developer": Both("大模型应用与开发", "LLM developer"),
    "researcher": Both("研究", "Researcher"),
    "infrastructure": Both("训练与推理基础设施", "Infrastructure"),
    "product": Both("产品", "Product"),
}
_TOPICS = {
    "architecture": "架构",
    "continued pretraining": "继续预训练",
    "decoding": "解码",
    "evaluation": "评测",
    "feed-forward": "前馈网络",
    "flash-attention": "FlashAttention",
    "inference": "推理",
    "kernels": "算子",
    "kv-cache": "KV 缓存",
    "late-interaction": "延迟交互",
    "llama": "Llama",
    "normalization": "归一化",
    "numerics": "数值",
    "optimization": "优化",
    "parallelism": "并行",
    "parameters": "参数量",
    "pipeline": "整条流水线",
    "position-encoding": "位置编码",
    "positions": "位置",
    "post-training": "后训练",
    "pretraining data": "预训练数据",
    "queueing": "排队",
    "relative-positions": "相对位置",
    "reranking": "重排",
    "retrieval": "检索",
    "scaling": "规模",
    "serving": "服务",
    "systems": "系统",
    "training": "训练",
    "training stability": "训练稳定性",
}
_ENGLISH = {"flash-attention": "FlashAttention", "kv-cache": "KV cache", "llama": "Llama"}


def role_name(role: str) -> Both:
    return _ROLES.get(role, Both.same(role))


def topic_name(topic: str, glossary: Glossary) -> Both:
    """The glossary's term if it has one; a topic that nobody named yet is shown as it is written."""
    if topic in glossary:
        return glossary[topic].name
    english = _ENGLISH.get(topic, topic.replace("-", " "))
    return Both(_TOPICS.get(topic, english), english)
