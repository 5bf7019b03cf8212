"""How well a learner knows each lesson, from evidence alone, and how long it will last.

``mastery_of_all(store, course, now)`` gives ``{lesson id: Mastery}``, ``ready_now(course, masteries)`` the
lessons whose prerequisites are known well enough. The formula and its reasons are in :mod:`.formula`.
"""

from teachllm.school.mastery.evidence import mastery_of, mastery_of_all
from teachllm.school.mastery.formula import LEVELS, WEIGHTS, Level, Mastery, Part
from teachllm.school.mastery.ready import ready_now

__all__ = ["LEVELS", "WEIGHTS", "Level", "Mastery", "Part", "mastery_of", "mastery_of_all", "ready_now"]
