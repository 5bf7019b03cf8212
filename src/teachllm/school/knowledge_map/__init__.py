"""The map of the course: where each lesson stands on it, which lines lead there, what a lesson needs."""

from teachllm.school.knowledge_map.layout import Band, Edge, Layout, Node, layout
from teachllm.school.knowledge_map.needs import needed_by, opened_by

__all__ = ["Band", "Edge", "Layout", "Node", "layout", "needed_by", "opened_by"]
