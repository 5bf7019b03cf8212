"""The folder that training runs lie in: which of them may be shown, and what a terminal calls them."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path

from teachllm.school.language import Both

RUNS = Path("runs")
"""Where ``teachllm train`` puts its runs: below the folder that it was called in."""
RUN_FILE = "run.json"


class UnknownRun(LookupError):
    """There is no run of that name."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name)
        self.why = Both(f"{where} 里没有训练 {name}。", f"There is no run {name} in {where}.")


class RunsFolder:
    """Thread-safe."""

    def __init__(self, path: Path = RUNS) -> None:
        self.path = path.resolve()
        self.closing = threading.Event()
        """Set when the studio closes: whoever follows a run then stops."""

    def run(self, name: str) -> Path:
        """The folder of the run of that name. Raises ``UnknownRun``, also where it leads out of here."""
        folder = self.path / name
        try:
            is_inside = folder.resolve().parent == self.path and folder.name == name
            if is_inside and (folder / RUN_FILE).is_file():
                return folder
        except (OSError, ValueError):  # a name that no file can have
            pass
        raise UnknownRun(name, self.shown(self.path))

    def shown(self, path: Path) -> str:
        """A path as a person writes it in the terminal that the studio runs in."""
        here = Path.cwd()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def command(self, verb: str, run: Path) -> str:
        """``teachllm resume runs/nano-20261124-201500``."""
        return f"teachllm {verb} {shlex.quote(self.shown(run))}"
