"""A learner's data in one file: taken to another machine, and merged there with what it has already."""

from teachllm.school.transfer.archive import Archive, ArchiveError, read_archive, read_rows, write_archive
from teachllm.school.transfer.merge import Change, Merged, backups, import_archive

__all__ = [
    "Archive",
    "ArchiveError",
    "Change",
    "Merged",
    "backups",
    "import_archive",
    "read_archive",
    "read_rows",
    "write_archive",
]
