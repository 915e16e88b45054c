"""A folder that cannot say who owns it is refused in one line."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from sweeps.ownership import owned
from tracker.errors import InputError


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file sizes stands in for it: the lock is an empty file, its owner's is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with (
            pytest.raises(InputError, match=r"cannot be written .*; free the disk"),
            owned(tmp_path / "driver", str, "free the disk"),
        ):
            raise AssertionError("owned")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
