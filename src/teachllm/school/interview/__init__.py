"""Mock interviews: questions from the cards, follow-ups, a rubric, a report, one's weak points."""

from teachllm.school.interview.interviews import (
    Asked,
    Interview,
    InterviewOver,
    Interviews,
    MovedOn,
    UnknownInterview,
)
from teachllm.school.interview.questions import InterviewConfig, TooFewQuestions
from teachllm.school.interview.report import Report, report_of, weak_lessons

__all__ = [
    "Asked",
    "Interview",
    "InterviewConfig",
    "InterviewOver",
    "Interviews",
    "MovedOn",
    "Report",
    "TooFewQuestions",
    "UnknownInterview",
    "report_of",
    "weak_lessons",
]
