"""Against a real MLflow on SQLite; no test replaces any part of it."""

import itertools
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.tracker.record.stores import (
    OBJECTIVE,
    STEPS,
    Dying,
    Records,
    Specs,
    begin,
    client_survives,
    reopened,
)
from tracker.errors import StoreError
from tracker.record.store import LiveTrial, Store
from tracker.record.trial import (
    MethodSpec,
    Status,
    TrialSpec,
)

# -- sweeps and trials -------------------------------------------------------------------------


def test_a_sweep_and_its_trials_are_read_back_as_written(
    store: Store, make_record: Records, tmp_path: Path
) -> None:
    begin(store)
    first, second = make_record(1, seed=1), make_record(0, status=Status.DIVERGED, seed=0)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_text("w")
    store.end_trial("support", first, tmp_path)
    store.begin_trial("support", 0, "design", second.result.spec)
    store.end_trial("support", second, None)
    store.set_sweep_state("support", "finished", best="pg-30k", seconds=12.5)

    for reader in (store, reopened(store)):
        assert reader.records("support") == [second, first]
        assert reader.running("support") == []
        assert reader.spec_text("support") == "name: support\n"
        assert reader.objective("support") == OBJECTIVE
        assert reader.notes("support") == ("a note",)
        (info,) = reader.sweeps()
        assert (info.name, info.state, info.planned) == ("support", "finished", 8)
        assert info.counts == {"complete": 1, "diverged": 1}
        assert info.facts == {"best": "pg-30k", "seconds": "12.5"}
        assert info.ended_at is not None
        assert info.ended_at >= info.started_at
    run = store.client.get_run(store.run_url_parts("support", first.result.spec.key)[1])
    assert store._runs.text(run, "adapter/weights") == "w"
    assert TrialSpec.model_validate_json(store._runs.text(run, "spec.json")) == first.result.spec


def test_mlflow_alone_tells_what_a_trial_was(store: Store, make_record: Records) -> None:
    begin(store)
    record = make_record(3)
    key = record.result.spec.key
    store.end_trial("support", record, None)
    store.log_steps("support", key, STEPS)
    run = store.client.get_run(store.run_url_parts("support", key)[1])

    assert run.info.run_name == "pg-30k lora 400 even s0"
    assert run.info.status == "FINISHED"
    assert run.data.params["model.name"] == "pg-30k"
    assert run.data.params["method.learning_rate"] == "0.001"
    assert run.data.params["examples.intent"] == "400"
    assert "method.variant" not in run.data.params
    assert len(run.data.params) <= 40
    assert run.data.metrics["eval/intent/score"] == 0.75
    assert run.data.metrics["general/language/forgetting"] == pytest.approx(0.05)
    assert run.data.metrics["cost/train_tokens"] == 12_000
    assert "cost/peak_bytes" not in run.data.metrics
    assert run.data.metrics["train/loss"] == pytest.approx(1 / 3)
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("sft.")}
    assert tags.pop("sft.result")
    assert tags == {
        "sft.kind": "trial",
        "sft.sweep": "support",
        "sft.key": key,
        "sft.number": "3",
        "sft.stage": "design",
        "sft.status": "complete",
    }
    inputs = [(i.dataset.name, i.tags[0].value) for i in run.inputs.dataset_inputs]
    assert sorted(inputs) == [
        ("data/language.jsonl", "general"),
        ("intent/train.jsonl", "training"),
        ("intent/validation.jsonl", "validation"),
    ]
    parent = store.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "support"
    assert [i.dataset.digest for i in parent.inputs.dataset_inputs] == ["7" * 36]


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.PRUNED, "KILLED"),
        (Status.FAILED, "FAILED"),
        (Status.DIVERGED, "FAILED"),
        (Status.INFEASIBLE, "FAILED"),
    ],
)
def test_how_a_trial_ended_shows_in_mlflow(
    store: Store, make_record: Records, status: Status, shown: str
) -> None:
    begin(store)
    record = make_record(0, status=status)
    store.end_trial("support", record, None)
    run = store.client.get_run(store.run_url_parts("support", record.result.spec.key)[1])
    assert run.info.status == shown
    assert run.data.tags["sft.status"] == status.value
    assert run.data.tags["sft.reason"] == "loss became infinite"


def test_running_trials_show_their_last_loss(store: Store, make_spec: Specs) -> None:
    begin(store)
    spec = make_spec()
    store.begin_trial("support", 5, "design", spec)
    (live,) = store.running("support")
    assert (live.step, live.loss) == (None, None)
    store.log_steps("support", spec.key, STEPS)
    (live,) = store.running("support")
    place = (spec.key, 5, "design", "pg-30k", "lora", "even", 400, live.started_at)
    curve = tuple((step.step, step.values["train/loss"]) for step in STEPS)
    assert live == LiveTrial(*place, step=3, loss=1 / 3, curve=curve)
    assert store.sweeps()[0].counts == {"running": 1}


def test_the_untouched_base_has_no_mix(store: Store, make_record: Records) -> None:
    begin(store)
    base = make_record(0, method=MethodSpec(name="none"), mix=None, volume=0, examples={})
    store.begin_trial("support", 0, base.stage, base.result.spec)
    assert store.running("support")[0].mix == ""
    store.end_trial("support", base, None)
    assert store.records("support") == [base]


# -- models --------------------------------------------------------------------------------------


def test_a_registered_model_comes_back_by_its_alias(store: Store, tmp_path: Path) -> None:
    import mlflow

    begin(store)
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "sub" / "config.json").write_text("{}")
    name = f"support-{uuid.uuid4().hex[:8]}"

    def register(alias: str) -> str:
        return store.register_model("support", model, name, alias, "c: 1\n", {"test/f1": 0.5})

    assert [register("best"), register("best"), register("live")] == ["1", "1", "1"]
    (model / "model.safetensors").write_bytes(b"others")
    assert register("best") == "2"

    uri = f"sqlite:///{store.workspace / 'mlflow.db'}"
    fetched = Path(
        mlflow.artifacts.download_artifacts(
            store.client.get_model_version_by_alias(name, "live").source, tracking_uri=uri
        )
    )
    assert (fetched / "model.safetensors").read_bytes() == b"weights"
    version = store.client.get_model_version_by_alias(name, "best")
    assert version.version in ("2", 2)
    run = store.client.get_run(version.run_id)
    assert run.data.metrics == {"test/f1": 0.5}
    assert run.info.status == "FINISHED"
    assert store._runs.text(run, "config.yaml") == "c: 1\n"
    assert run.data.tags["mlflow.parentRunId"] == store._runs.sweep("support").info.run_id
    assert store.records("support") == []  # a model's run is no trial


def test_registering_survives_dying_at_any_write(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    for n in itertools.count(1):
        name = f"model-{n}"

        def register(store: Store, name: str = name) -> str:
            return store.register_model(None, tmp_path, name, "best", "c: 1\n", {"test/f1": 0.5})

        store = Store.open(workspace, project=f"registering-{n}")
        client = Dying(store.client, n)
        dying = Store(client, store._runs.experiment_id, workspace, "sqlite")
        survived = client_survives(dying, register)
        assert register(store) == "1"
        assert len(store.client.search_model_versions(f"name = '{name}'")) == 1
        assert len(list(store._runs.search(""))) == 1
        if survived:
            assert n > 7
            return


# -- what goes wrong -------------------------------------------------------------------------------


def test_an_unknown_sweep_is_told_with_the_nearest_name(store: Store) -> None:
    begin(store, "support")
    begin(store, "billing's")
    with pytest.raises(
        StoreError, match=r"'suport'; allowed: support, billing's; did .* 'support'"
    ):
        store.records("suport")
    assert store.spec_text("billing's") == "name: support\n"


def test_an_unknown_trial_is_told(store: Store) -> None:
    begin(store)
    with pytest.raises(StoreError, match="'support' holds no trial 0123"):
        store.log_steps("support", "0123", STEPS)


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


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 99)
    with pytest.raises(StoreError, match=r"tracking store sqlite:.*mlflow\.db: .*; see that"):
        Store.open(tmp_path)


def test_a_deleted_experiment_is_told(store: Store) -> None:
    experiment = store.client.get_experiment(store._runs.experiment_id)
    store.client.delete_experiment(experiment.experiment_id)
    with pytest.raises(StoreError, match="is deleted; restore it"):
        Store.open(store.workspace, project=experiment.name)


# -- processes -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_that_open_a_fresh_store_at_once_share_it_in_silence(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tracker.record.store import Store\n"
        "assert 'mlflow' not in sys.modules\n"
        "store = Store.open(Path('workspace'))\n"
        "from tracker.record.trial import Objective\n"
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
