"""Running code that is not the studio's: gradings of exercises, and labs, each in processes of its own."""

from teachllm.school.exercise import Exercise, exercise
from teachllm.school.runner.grading import GradeRun
from teachllm.school.runner.isolation import Isolation
from teachllm.school.runner.lab_run import LabRun
from teachllm.school.runner.launcher import RunnerError
from teachllm.school.runner.prove import prove
from teachllm.school.runner.runner import Runner
from teachllm.school.runner.verdict import CheckResult, Verdict

__all__ = [
    "CheckResult",
    "Exercise",
    "GradeRun",
    "Isolation",
    "LabRun",
    "Runner",
    "RunnerError",
    "Verdict",
    "exercise",
    "prove",
]
