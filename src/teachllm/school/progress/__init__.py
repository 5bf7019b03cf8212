"""What the school remembers of a learner: ``open_store()`` gives the :class:`Store`."""

from teachllm.school.progress.conversations import Message, Thread, UnknownThread
from teachllm.school.progress.errors import DatabaseError, SettingError, StoreError
from teachllm.school.progress.place import learner_home
from teachllm.school.progress.practice import ExerciseState, Submission
from teachllm.school.progress.reading import Bookmark, Note, Position
from teachllm.school.progress.store import Store, open_store

__all__ = [
    "Bookmark",
    "DatabaseError",
    "ExerciseState",
    "Message",
    "Note",
    "Position",
    "SettingError",
    "Store",
    "StoreError",
    "Submission",
    "Thread",
    "UnknownThread",
    "learner_home",
    "open_store",
]
