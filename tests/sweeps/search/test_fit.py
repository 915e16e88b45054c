"""What fits no device is left out of a sweep that begins, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.plan_table import print_plan
from sweeps.resolve import ResolvedSweep
from sweeps.search import devices as devices_module
from sweeps.search.bounds import DEVICE_MEMORY, SearchBounds, Unfit, unfit_key
from sweeps.search.devices import Device, devices
from sweeps.search.fit import fit_of, unfit_points
from sweeps.search.plan import disk_bytes, free_bytes, make_plan
from sweeps.search.space import design_points, lattice, trial_spec
from sweeps.search.strategies import STRATEGIES, strategy_of
from sweeps.search.study import StudyAdapter
from sweeps.search.timing import timed_speed
from sweeps.spec import Engine
from tracker.errors import InputError

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
GIBIBYTE = 1024**3


@pytest.fixture
def small_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module, "_host_bytes", lambda: GIBIBYTE)


def test_workers_of_a_device_share_its_memory() -> None:
    gpu = Device("0", 24 * GIBIBYTE, 2)
    assert gpu.kind == "cuda"
    assert gpu.alone == pytest.approx(24 * GIBIBYTE - 2 * 600 * 1024**2)
    assert gpu.share == gpu.alone // 2
    assert Device(None, GIBIBYTE, 4).share == 0, "four processes alone need more"


def test_every_worker_is_on_one_device() -> None:
    assert [device.workers for device in devices(Engine(workers=3))] == [3]


@pytest.mark.usefixtures("small_host")
def test_what_fits_no_device_is_named_unless_it_is_to_run(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep(engine={"workers": 4})
    unfit = unfit_points(sweep)
    assert unfit.available == 0
    assert len(unfit.needs) >= len(design_points(sweep.spec))
    with pytest.raises(InputError, match=r"engine\.run_unfit: true"):
        SearchBounds(sweep, unfit=unfit).check()
    wanted, _ = make_sweep(engine={"workers": 4, "run_unfit": True})
    assert unfit_points(wanted) == Unfit()


def test_a_tiny_model_fits(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    assert unfit_points(sweep).needs == {}
    point = design_points(sweep.spec)[0]
    method = lattice(sweep.spec, point.method.name, 1)[0]
    fit = fit_of(trial_spec(sweep, point._replace(method=method), 0), devices(Engine(workers=1)))
    assert fit.problem is None
    assert fit.rung is not None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_proposes_what_fits_nowhere(strategy: str, make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep(search={"strategy": strategy}, budget={"trials": 6})
    methods = [point.method.name for point in design_points(sweep.spec)]
    gone = methods[0]
    needs = {
        unfit_key(p._replace(method=setting)): 2000
        for p in design_points(sweep.spec)
        if p.method.name == gone
        for setting in lattice(sweep.spec, gone, 100)
    }
    bounds = SearchBounds(sweep, unfit=Unfit(1000, needs))
    assert {p.method.name for p in bounds.points} == set(methods) - {gone}
    assert {p.constraint for p in bounds.pruned} == {DEVICE_MEMORY}
    assert gone not in {method for _, method in strategy_of(sweep, bounds).bounds.pairs}


def test_a_begun_study_keeps_its_design(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    study = StudyAdapter(None, sweep.spec)
    assert study.unfit == Unfit()
    study.leave_out(Unfit(1000, {"a": 2000}))
    assert study.unfit == Unfit(1000, {"a": 2000})
    study.study.ask()
    study.leave_out(Unfit(1000, {"b": 2000}))
    assert study.unfit.needs.keys() == {"a"}


def test_a_plan_times_a_step_once_and_says_so(
    make_sweep: MakeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, _ = make_sweep()
    bounds, workspace = SearchBounds(sweep), tmp_path / "runs"
    workspace.mkdir()
    speed = timed_speed(sweep, [], bounds, workspace)
    assert "a timed training step and evaluation batch of" in speed.basis
    assert timed_speed(sweep, [], bounds, workspace) == speed, "from the workspace's cache"
    assert speed.timed.keys() == {point.pair for point in bounds.points}
    host = devices(Engine(workers=2))
    made = make_plan(sweep, [], 2, bounds, among=host, speed=speed)
    assert made.disk_bytes == disk_bytes(sweep, bounds, 2)
    print_plan(made._replace(free_bytes=10), None, "next")
    shown = " ".join(capsys.readouterr().out.split())
    assert "MORE THAN THE 10 B THAT ARE FREE" in shown
    assert "memory is that of tensors at the peak of" in shown
    assert free_bytes(tmp_path / "not" / "there") > 0
