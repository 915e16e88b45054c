"""A full or refusing disk is no fault of a trial: it stops the sweep without a result."""

from __future__ import annotations

import errno
import resource
import signal
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from sweeps.finetune.contract import TrialHome
from sweeps.finetune.trial import disk_refusal
from sweeps.search.engines.engine import Job, Refused
from sweeps.search.worker import run_job
from tests.sweeps.finetune.test_trial import MakeSpec
from tracker.errors import StoreError
from tracker.store.journal import Journal

WEIGHTS = {"weights": torch.zeros(100_000)}


def test_the_disks_refusal_is_found_behind_other_errors() -> None:
    assert disk_refusal(OSError(errno.EDQUOT, "quota", "a.bin")) == (
        "a.bin: the disk refuses (Disk quota exceeded); free or mend the disk, then run the same "
        "command again"
    )
    behind = ValueError("could not save")
    behind.__cause__ = OSError(errno.EIO, "io")
    assert str(disk_refusal(behind)).startswith("the disk refuses (Input/output error)")
    during = RuntimeError("closing failed")
    during.__context__ = behind
    assert disk_refusal(during)
    behind.__cause__.__context__ = during
    assert disk_refusal(during), "a ring ends"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "gone"),
        PermissionError(errno.EACCES, "denied"),
        RuntimeError("CUDA error"),
        ValueError("os error 28"),
    ],
)
def test_other_faults_are_no_refusal_of_the_disk(error: Exception) -> None:
    assert disk_refusal(error) is None


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(WEIGHTS, path),
        lambda path: save_file(WEIGHTS, path),
        lambda path: path.write_bytes(bytes(400_000)),
    ],
    ids=["torch", "safetensors", "python"],
)
def test_what_the_libraries_really_raise_is_known(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    """A limit on file sizes stands in for a full disk: both refuse in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises((OSError, RuntimeError, SafetensorError)) as raised:
            write(tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert disk_refusal(raised.value)


@pytest.mark.parametrize("refuses", ["training", "journal"])
def test_a_worker_reports_a_full_disk_and_leaves_no_result(
    refuses: str, make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("full")
    home = TrialHome(tmp_path / "c", tmp_path / "a", tmp_path / "b")
    journal = tmp_path / "journal.jsonl"

    def full(*_: object) -> None:
        raise StoreError("disk full; free it, then run the same command again")

    if refuses == "journal":
        monkeypatch.setattr(Journal, "append", full)
    ours, _theirs = Pipe()
    said = run_job(Job(spec.key, spec, home, str(journal)), ours, full)  # type: ignore[arg-type]
    assert said == Refused(spec.key, "disk full; free it, then run the same command again")
    assert Journal(journal).result() is None
