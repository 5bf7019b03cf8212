"""The page's scripts: their unit tests, and what the bundle may and may not contain."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FRONTEND = Path(__file__).parents[2] / "src" / "teachllm" / "school" / "web" / "frontend"


@pytest.fixture(scope="session")
def node() -> str:
    """Node with the installed packages of the page; skips without, except in CI, where both must be there."""
    path = shutil.which("node")
    why = None
    if path is None:
        why = "no Node on PATH"
    elif not (FRONTEND / "node_modules").exists():
        why = "the page's packages are not installed (make start does it: npm ci in the frontend folder)"
    if why:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return str(path)


@pytest.fixture(scope="session")
def bundle(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "built"
    made = subprocess.run(
        [node, "build.mjs", str(folder)], cwd=FRONTEND, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    return folder


def test_unit_tests_of_the_scripts_pass(node: str) -> None:
    tests = [str(path) for path in sorted((FRONTEND / "tests").glob("*.test.mjs"))]
    assert tests
    ran = subprocess.run([node, "--test", *tests], cwd=FRONTEND, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_manifest_names_what_was_built(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text("utf8"))
    for name in ("main.js", "main.css"):
        content = (bundle / manifest[name]["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(manifest[name]["hash"])
        assert len(content) == manifest[name]["bytes"]
    assert manifest["preload"]
    assert all((bundle / name).exists() for name in manifest["preload"])


def test_first_script_is_small_and_loads_no_editor(bundle: Path) -> None:
    """A page without an exercise must not wait for CodeMirror, nor one without mathematics for KaTeX."""
    waiting, loaded = ["main.js"], set()
    while waiting:
        name = waiting.pop()
        if name in loaded:
            continue
        loaded.add(name)
        text = (bundle / name).read_text("utf8")
        # `import{a}from"./x.js"` and `import"./x.js"`, but not the lazy `import("./x.js")`
        for found in re.findall(r'(?:from|import)"(\.[^"]+\.js)"', text):
            waiting.append(os.path.normpath(Path(name).parent / found))
    assert sum((bundle / name).stat().st_size for name in loaded) < 80_000
    whole = "".join((bundle / name).read_text("utf8") for name in loaded)
    assert "cm-content" not in whole
    assert "katex-html" not in whole


def test_styles_and_scripts_ask_nothing_of_another_machine(bundle: Path) -> None:
    for path in bundle.rglob("*.css"):
        for target in re.findall(r"url\(([^)]*)\)", path.read_text("utf8")):
            assert not re.match(r"""["']?(https?:)?//""", target), f"{path.name}: {target}"
            if not target.strip("\"'").startswith("data:"):
                assert (path.parent / target.strip("\"'")).exists(), f"{path.name}: {target}"
    for path in bundle.rglob("*.js"):
        text = path.read_text("utf8")
        assert not re.search(r"\beval\(|\bnew Function\(", text), f"{path.name} needs unsafe-eval"


def test_licences_of_the_bundled_packages_are_included(bundle: Path) -> None:
    text = (bundle / "licenses.txt").read_text("utf8")
    for package in ("katex", "uplot", "@codemirror/view", "d3-scale", "@fontsource-variable/source-serif-4"):
        assert f"{package} " in text
    assert "SIL OPEN FONT LICENSE" in text.upper()


def test_lock_file_pins_versions_and_names_no_registry() -> None:
    lock = json.loads((FRONTEND / "package-lock.json").read_text("utf8"))
    package = json.loads((FRONTEND / "package.json").read_text("utf8"))
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry, f"{name} names the host that it came from"
        assert not name or "integrity" in entry, f"{name} has no checksum"
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} is not pinned: {version}"
