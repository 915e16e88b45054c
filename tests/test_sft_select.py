"""The public Python API as a notebook uses it, and the guard against foreign packages of our names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sft_select
from tests.readme_tree import ROOMS, ROOT


def _command(*path: Path) -> subprocess.CompletedProcess[str]:
    """``sft-select --help`` with the folders of *path* first on Python's path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    code = "import sys, sft_select; sys.argv = ['sft-select', '--help']; sft_select.main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment
    )


def _foreign(folder: Path, package: str) -> Path:
    """A package of our name as another distribution has it; its code leaves a mark where it is run."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(
        f'"""Hyperparameter sweeps."""\nopen({str(folder / "ran")!r}, "w").close()\n'
    )
    return folder


def test_our_own_packages_are_known() -> None:
    assert sft_select.foreign_package() is None
    done = _command(ROOT)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("package", ROOMS)
def test_a_foreign_package_first_on_the_path_is_named_in_one_line(
    package: str, tmp_path: Path
) -> None:
    done = _command(_foreign(tmp_path / "foreign", package), ROOT)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"another Python package {package!r}" in line
    assert "pip install --force-reinstall --no-deps sft-select" in line
    assert not (tmp_path / "foreign" / "ran").exists()


@pytest.mark.parametrize("first", ['"""Sweeps."""\n', None])
def test_a_foreign_wheel_over_ours_is_known_by_its_content(
    first: str | None, tmp_path: Path
) -> None:
    """Installed over ours it replaces our first file; uninstalled again, it takes that along."""
    shutil.copy(ROOT / "sft_select.py", tmp_path)
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "models")
        shutil.copytree(ROOT / room, tmp_path / room, ignore=ignored)
    file = tmp_path / "sweeps" / "__init__.py"
    file.unlink() if first is None else file.write_text(first)
    done = _command(tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "another Python package 'sweeps'" in line


def test_importing_defines_names_and_loads_nothing() -> None:
    code = "import sys, sft_select; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert not set(done.stdout.split()) & {
        "pandas",
        "mlflow",
        "plotly",
        "torch",
        "tracker",
        "numpy",
    }
