"""The study plan: a goal and the hours for it, put on days by prerequisites, moved when life moves.

:class:`.Planner` is what pages and commands use; the planning itself (:mod:`.goal`, :mod:`.work`,
:mod:`.reviews`, :mod:`.schedule`, :mod:`.fit`, :mod:`.plan`) is pure.
"""

from teachllm.school.plan.plan import Move, Past, Plan
from teachllm.school.plan.planner import Planner, State
from teachllm.school.plan.schedule import Item
from teachllm.school.plan.wish import PlanError, Wish, built_in

__all__ = ["Item", "Move", "Past", "Plan", "PlanError", "Planner", "State", "Wish", "built_in"]
