"""The engine of this machine, and the formula that stands in for it in other tests, keep one contract."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.resolve import read_sweep
from sweeps.search.engines.engine import Job
from sweeps.search.engines.local import LocalEngine
from sweeps.search.space import trial_spec
from sweeps.search.workspace import SweepFolder
from tests.contracts.engine import EngineContract
from tests.factories import sweep_text
from tests.sweeps.search.formula import FormulaEngine
from tracker.store.journal import Journal
from tracker.trial import Configuration, MethodSpec

LORA = MethodSpec(name="lora", variant="plain", rank=4, learning_rate=1e-2)


class _OfATinySweep(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def job(
        cls, tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Callable[..., Job]:
        path = tmp_path_factory.mktemp("engine") / "sweep.yaml"
        path.write_text(sweep_text(tiny_model, tiny_data))
        sweep, folder = read_sweep(path), SweepFolder(path.parent, "tiny")
        seeds = itertools.count()

        def make(*, long: bool = False) -> Job:
            spec = trial_spec(sweep, Configuration("a", LORA, "plain", 40), next(seeds))
            if long:
                train = spec.train.model_copy(update={"epochs": 2_000})
                spec = spec.model_copy(update={"train": train})
            return folder.job(spec.key, spec, sweep.spec)

        return make


class TestLocalEngine(_OfATinySweep):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[LocalEngine]:
        engine = LocalEngine(devices=[None, None], threads=1, hang_seconds=600.0)
        yield engine
        engine.close()

    def kill(self, engine: LocalEngine, job: Job) -> None:
        os.kill(Journal(Path(job.journal)).events()[0]["pid"], signal.SIGKILL)

    def refuse(self, engine: LocalEngine, job: Job) -> Job:
        """Its training data are others than they were."""
        (task,) = job.spec.tasks
        assert task.train is not None
        train = task.train.model_copy(update={"sha256": "f" * 64})
        task = task.model_copy(update={"train": train})
        return job._replace(spec=job.spec.model_copy(update={"tasks": (task,)}))

    def workers(self) -> list[int]:
        found = psutil.Process().children(recursive=True)
        return [process.pid for process in found if "spawn_main" in " ".join(process.cmdline())]

    def wait_until_under_way(self, engine: LocalEngine, job: Job) -> None:
        while not Journal(Path(job.journal)).events():
            assert self.workers()
            time.sleep(0.05)


def test_ctrl_c_ends_no_worker_that_starts() -> None:
    """A terminal sends it to all: a worker that still loads its libraries would print a traceback."""
    engine = LocalEngine(devices=[None], threads=1, hang_seconds=600.0)
    try:
        (slot,) = engine._slots
        assert slot.process.pid is not None
        os.kill(slot.process.pid, signal.SIGINT)
        slot.process.join(0.5)
        assert slot.process.is_alive()
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        engine.close()


class TestFormulaEngine(_OfATinySweep):
    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> FormulaEngine:
        return FormulaEngine(2)

    def kill(self, engine: FormulaEngine, job: Job) -> None:
        engine.dying.add(job.key)

    def refuse(self, engine: FormulaEngine, job: Job) -> Job:
        engine.refused[job.key] = "its data changed"
        return job
