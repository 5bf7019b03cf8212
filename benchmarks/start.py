"""From the command to the studio: the first start of a fresh clone, and every later one.

    make bench NAME=start

The project is cloned into a temporary folder, with learner data and assets of its own, and started there as
a new user would; `--no-browser` stands for the browser. What package managers keep of earlier downloads is
used, so a machine that has never seen these packages takes longer. There is no peer.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Row, report

ROOT = Path(__file__).parents[1]
WARM_STARTS = 5
PATIENCE = 1800.0
STEP = re.compile(r"setting up: ([^,(]+), ([\d.]+) s")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="teachllm-start-") as folder:
        clone = Path(folder) / "teachllm"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {
            **os.environ,
            "TEACHLLM_HOME": str(Path(folder) / "home"),
            "TEACHLLM_ASSETS": str(Path(folder) / "assets"),
        }
        cold, said = seconds_to_studio(clone, environment)
        warm = [seconds_to_studio(clone, environment)[0] for _ in range(WARM_STARTS)]
    steps = [row(f"of that: {name}", float(seconds)) for name, seconds in STEP.findall(said)]
    report(
        "start",
        [
            row("cold: fresh clone to the studio's link", cold),
            *steps,
            row("warm: to the studio's link, median", statistics.median(warm)),
        ],
        notes=[f"warm starts: {', '.join(f'{one:.2f}' for one in warm)} s; the bar is 3 s"],
    )


def row(what: str, seconds: float) -> Row:
    return Row(what, seconds, None, "none", "s", None, why="no peer")


def seconds_to_studio(clone: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Seconds until the link is printed, and everything said until then. The studio is closed again."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "bootstrap.py", "start", "--no-browser", "--port", "0"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "token=" in line:
                return time.perf_counter() - began, said
            if time.perf_counter() - began > PATIENCE:
                break
        raise SystemExit(f"the studio did not start:\n{said}")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


if __name__ == "__main__":
    main()
