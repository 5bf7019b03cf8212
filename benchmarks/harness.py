"""Time two programs side by side and keep the result: one row a comparison, a table on the screen, a JSON
file.

Ours and the peer take turns, so that a busy neighbour hits both, and the medians are compared. A ratio
above 1 means that ours is better, whatever the unit.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
RUNS = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `limit` is what the hardware allows in the same unit, `of_limit` the share of it we
    reach.

    When the peer could not run, `peer` and `ratio` are None and `why` says why.
    """

    what: str
    ours: float
    peer: float | None
    peer_name: str
    unit: str
    ratio: float | None
    limit: float | None = None
    of_limit: float | None = None
    threads: int = 1
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)
    why: str = ""


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call by the wall, or of the processor with `clock` = time.process_time."""
    start = clock()
    run()
    return clock() - start


def alternate(
    *runs: Callable[[], object],
    times: int = RUNS,
    before: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Median seconds of each of `runs`, taken in turns `times` times after one warm-up round.

    `before` is called, untimed, before every run.
    """
    taken: list[list[float]] = [[] for _ in runs]
    for round_number in range(times + 1):
        for run, measured in zip(runs, taken, strict=True):
            if before is not None:
                before()
            spent = seconds(run, clock)
            if round_number > 0:
                measured.append(spent)
    return [statistics.median(measured) for measured in taken]


def compare(
    what: str,
    ours: float,
    peer: float,
    peer_name: str,
    unit: str,
    *,
    lower_is_better: bool = False,
    limit: float | None = None,
    threads: int = 1,
    device: str = "cpu",
    packages: Sequence[str] = (),
) -> Row:
    """The row of two figures in the same unit. `packages` are those whose versions matter."""
    ratio = peer / ours if lower_is_better else ours / peer
    of_limit = None
    if limit is not None:
        of_limit = limit / ours if lower_is_better else ours / limit
    return Row(what, ours, peer, peer_name, unit, ratio, limit, of_limit, threads, device, versions(packages))


def without_peer(
    what: str, ours: float, peer_name: str, unit: str, why: str, *, threads: int = 1, device: str = "cpu"
) -> Row:
    """The row of a peer that could not run here, with the reason."""
    return Row(what, ours, None, peer_name, unit, None, threads=threads, device=device, why=why)


def versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """The CPU's model name, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def report(
    name: str, rows: Sequence[Row], *, notes: Sequence[str] = (), details: Mapping[str, object] | None = None
) -> Path:
    """Print the rows as a table and write results/NAME.json; returns its path.

    details: what the rows were made from, kept in the file under "details".
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    table = Table(title=f"{name} · {processor()}")
    for heading in ("what", "ours", "peer", "unit", "ratio", "of limit", "threads"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for row in rows:
        peer = row.why if row.peer is None else f"{row.peer:.4g} {row.peer_name}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}×"
        of_limit = "–" if row.of_limit is None else f"{row.of_limit:.0%}"
        table.add_row(row.what, f"{row.ours:.4g}", peer, row.unit, ratio, of_limit, str(row.threads))
    console.print(table)
    for note in notes:
        console.print(f"· {note}", highlight=False)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "notes": list(notes),
        "rows": [asdict(row) for row in rows],
    }
    if details is not None:
        content["details"] = details
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {path}")
    return path
