"""Opening the tracking store: where there is none, where nobody answers, by several processes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import trial_spec
from tracker.errors import RefusedError, StoreError
from tracker.store.journal import Step
from tracker.store.store import Store
from tracker.trial import Objective


def test_no_store_is_not_created_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no tracking store here"):
        Store.open(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_an_unreachable_server_is_one_line_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError) as raised:
        Store.open(tmp_path, "http://user:secret@127.0.0.1:9/")
    message = str(raised.value)
    assert message.startswith("tracking store http://127.0.0.1:9/: ")
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.slow
def test_processes_that_open_a_fresh_store_at_once_share_it_in_silence(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tracker.store.store import Store\n"
        "assert 'mlflow' not in sys.modules\n"
        "store = Store.open(Path('workspace'))\n"
        "from tracker.trial import Objective\n"
        "store.begin_sweep(sys.argv[1], spec_text='', spec_digest='0', planned=1, datasets=[],"
        " objective=Objective(weights={'a': 1}))\n"
        "assert store.spec_text(sys.argv[1]) == ''\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as pickle\n"
        "assert pickle.get() is False\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PYTEST"))}
    environment["HOME"] = str(tmp_path / "home")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, name],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    for process in processes:
        assert (*process.communicate(), process.returncode) == ("", "", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]
    names = {info.name for info in Store.open(tmp_path / "workspace").sweeps()}
    assert names == {"first", "second"}


def test_the_advised_command_restores_a_deleted_experiment(tmp_path: Path) -> None:
    workspace = tmp_path / "work space"
    store = Store.open(workspace)
    objective = Objective(weights={"a": 1.0})
    store.begin_sweep(
        "tiny", spec_text="", spec_digest="0", planned=1, datasets=[], objective=objective
    )
    store.client.delete_experiment(store._runs.experiment_id)
    with pytest.raises(RefusedError) as raised:
        Store.open(workspace)
    _, command, advice = str(raised.value).split("`")
    bare = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW")}
    bare["PATH"] = f"{Path(sys.executable).parent}:{bare['PATH']}"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=bare, check=True, capture_output=True)
    assert [info.name for info in Store.open(workspace).sweeps()] == ["tiny"]
    assert advice == ", or name another --workspace or --store"
    assert [path.name for path in tmp_path.iterdir()] == ["work space"]


def test_a_call_that_fails_in_another_thread_disturbs_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It empties the store's caches at any moment: here between the look-up of a run and its use."""
    store = Store.open(tmp_path)
    objective = Objective(weights={"a": 1.0})
    store.begin_sweep(
        "tiny", spec_text="", spec_digest="0", planned=1, datasets=[], objective=objective
    )
    spec = trial_spec()
    store.begin_trial("tiny", 0, "grid", spec)
    step_metrics = store._runs.step_metrics

    def forgetting(run_id: str) -> list[object]:
        found = step_metrics(run_id)
        store._forget()
        return found

    monkeypatch.setattr(store._runs, "step_metrics", forgetting)
    store.log_steps("tiny", spec.key, [Step(1, 1, {"loss": 2.0})])
    assert [step.values for step in store.history("tiny", spec.key)] == [{"train/loss": 2.0}]
