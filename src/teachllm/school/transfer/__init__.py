"""A learner's data in one file: taken to another machine, and merged there with what it has already."""

from teachllm.school.transfer.archive import Archive, ArchiveError, read_archive, write_archive
from teachllm.school.transfer.merge import Change, Merged, import_archive

__all__ = ["Archive", "ArchiveError", "Change", "Merged", "import_archive", "read_archive", "write_archive"]
