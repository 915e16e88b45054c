"""Run the Dockerfile's stages without Docker, in folders of their own and a clean environment.

``python -m tests.dockerfile FOLDER`` follows the instructions as a build would (COPY takes only what is
named, RUN sees only ENV), then runs the image's three roles: a sweep, the dashboard, an MLflow server. They
run as the image's user where this is root's process and that user can read this Python.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conftest import write_tiny_data, write_tiny_model
from tests.factories import sweep_text

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
_ROLE_SECONDS = 240


class Instruction(NamedTuple):
    """An instruction, with its continued lines joined."""

    word: str
    rest: str


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, in their order, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Instruction(word, rest.strip())


def copied(text: str) -> list[str]:
    """The files and folders of the project that the build takes."""
    copies = [shlex.split(i.rest) for i in instructions(text) if i.word == "COPY"]
    return [source for parts in copies if parts[0][:2] != "--" for source in parts[:-1]]


class Image:
    """The last stage after all instructions: its files below *folder*, its environment and its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.defpath, "HOME": str(folder / "home")}
        self.user: int | None = None
        self.entrypoint: list[str] = []
        self._place = folder
        for instruction in instructions(DOCKERFILE.read_text()):
            self._follow(instruction)

    def _follow(self, instruction: Instruction) -> None:
        word, rest = instruction
        if word == "WORKDIR":
            self._place = self._inside(rest)
            self._place.mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and not rest.startswith("--"):
            *sources, target = shlex.split(rest)
            for source in sources:
                self._copy(ROOT / source, self._place / target, Path(source).name)
        elif word == "RUN" and not rest.startswith("useradd"):
            self._run(["sh", "-c", self._mapped(rest)], cwd=self._place)
        elif word == "ENV":
            pairs = (pair.split("=", 1) for pair in shlex.split(rest))
            path = self.environment["PATH"]
            new = {name: self._mapped(value).replace("$PATH", path) for name, value in pairs}
            self.environment |= new
        elif word == "USER":
            self.user = int(rest)
        elif word == "ENTRYPOINT":
            self.entrypoint = shlex.split(rest.strip("[]").replace(",", " "))

    def _inside(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def _mapped(self, command: str) -> str:
        """*command* with the image's folders in place of the root's; both stages share them here."""
        return command.replace("/opt/", f"{self.folder}/opt/")

    def _copy(self, source: Path, target: Path, name: str) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)

    def _run(self, command: list[str], cwd: Path) -> None:
        python = str(Path(sys.base_prefix) / "bin")  # what FROM python:3.11 brings
        environment = self.environment | {"PATH": f"{python}:{self.environment['PATH']}"}
        subprocess.run(command, cwd=cwd, env=environment, check=True, timeout=1800)

    def command(self, *arguments: str) -> list[str]:
        """*arguments* as the image's user runs them."""
        if self.user is None or not _may_switch_user():
            return [*arguments]
        as_user = (
            "setpriv",
            "--reuid",
            str(self.user),
            "--regid",
            str(self.user),
            "--clear-groups",
        )
        return [*as_user, *arguments]


def _may_switch_user() -> bool:
    python = Path(sys.base_prefix)
    return os.geteuid() == 0 and all(
        p.stat().st_mode & 0o005 == 0o005 for p in (python, *python.parents)
    )


def check_roles(image: Image) -> None:
    """AssertionError unless a sweep, the dashboard and an MLflow server work for the image's user."""
    data = image.folder / "data"
    model, rows = data / "model", data / "rows"
    for part in (model, rows):
        part.mkdir(parents=True)
    write_tiny_data(rows)
    write_tiny_model(model, rows)
    (data / "sweep.yaml").write_text(sweep_text(model, rows, budget={"trials": 4}))
    for folder in (image.folder / "home", data):
        folder.mkdir(exist_ok=True)
        if not _may_switch_user():
            continue
        for path in (folder, *folder.rglob("*")):
            os.chown(path, image.user or -1, image.user or -1)
    run = image.command(*image.entrypoint, "run", "sweep.yaml")
    done = subprocess.run(run, cwd=data, env=image.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print("sweep: exit 0")
    roles: Mapping[str, tuple[list[str], str]] = {
        "dashboard": ([*image.entrypoint, "dashboard", "--port", "8461"], "http://127.0.0.1:8461/"),
        "MLflow server": (
            ["mlflow", "server", "--backend-store-uri", f"sqlite:///{data}/runs/mlflow.db",
             "--artifacts-destination", f"{data}/runs/artifacts", "--port", "8462"],
            "http://127.0.0.1:8462/health",
        ),
    }  # fmt: skip
    for name, (command, address) in roles.items():
        with subprocess.Popen(
            image.command(*command), cwd=data, env=image.environment, start_new_session=True
        ) as server:
            try:
                print(f"{name}: status {_status(address)}")
            finally:
                os.killpg(server.pid, 15)


def _status(address: str) -> int:
    deadline = time.monotonic() + _ROLE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def main() -> None:
    """Build and try the image in the folder that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.absolute()
    image = Image(folder)
    print(f"user: {image.user if _may_switch_user() else 'this process (cannot switch)'}")
    check_roles(image)


if __name__ == "__main__":
    main()
