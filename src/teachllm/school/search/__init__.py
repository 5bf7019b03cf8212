"""Search over lessons, cards, code, terms and notes, Chinese and English at once.

``search("KV 缓存", "zh")`` gives the best :class:`Hit` first. The index is made in the background, by
``warm_up()`` or the first search, and again when the course's files change.
"""

from teachllm.school.search.engine import Hit, search, search_whole, stop, warm_up
from teachllm.school.search.entries import KIND_NAMES

__all__ = ["KIND_NAMES", "Hit", "search", "search_whole", "stop", "warm_up"]
