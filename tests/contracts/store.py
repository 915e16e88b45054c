"""Contract of the tracking store, whatever MLflow keeps its runs in; no part of MLflow is replaced."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.tracker.store.stores import (
    DATASETS,
    OBJECTIVE,
    STEPS,
    Records,
    Specs,
    begin,
    reopened,
)
from tracker.errors import InputError, StoreError
from tracker.store.control import ACTIONS, ControlReply, RaisedBudget, new_request
from tracker.store.journal import Step
from tracker.store.model_registry import Model
from tracker.store.store import LiveTrial, Store
from tracker.store.test_reads import Reading
from tracker.trial import MethodSpec, Status, TrialRecord, TrialSpec

#: What each action needs beside its name.
NEEDED: dict[str, dict[str, Any]] = {
    "stop_trial": {"trial": 12},
    "clone": {"trial": 12, "changes": {"volume": "800"}},
    "raise_budget": {"budget": RaisedBudget(trials=80)},
}


def scored(record: TrialRecord, score: float) -> TrialRecord:
    """*record* with this score of its task."""
    tasks = tuple(each.model_copy(update={"score": score}) for each in record.result.tasks)
    return record.model_copy(update={"result": record.result.model_copy(update={"tasks": tasks})})


class StoreContract:
    """*store* is an empty project of its own, :meth:`open_damaged` opens a store that cannot be."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def open_damaged(self, folder: Path) -> Store:
        """A store at an address where there is none that works."""
        raise NotImplementedError

    @pytest.fixture
    def sweep(self, store: Store) -> str:
        begin(store)
        return "support"

    # -- sweeps and trials -------------------------------------------------------------------------

    def test_a_sweep_and_its_trials_are_read_back_as_written(
        self, store: Store, make_record: Records, tmp_path: Path
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
        assert (
            TrialSpec.model_validate_json(store._runs.text(run, "spec.json")) == first.result.spec
        )

    def test_mlflow_alone_tells_what_a_trial_was(self, store: Store, make_record: Records) -> None:
        begin(store)
        record = make_record(3)
        key = record.result.spec.key
        store.end_trial("support", record, None)
        store.log_steps("support", key, STEPS)
        run = store.client.get_run(store.run_url_parts("support", key)[1])

        assert run.info.run_name == "pg-30k lora r=8 lr=0.001 n=400 even s0"
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
            "sft.model": "pg-30k",
            "sft.method": "lora",
            "sft.mix": "even",
            "sft.volume": "400",
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

    def test_each_reading_of_test_is_counted_once(self, store: Store) -> None:
        first, second = (Reading("a" * 64, name, "train 1") for name in ("x", "y"))
        other = Reading("b" * 64, "x", "train 1")
        assert store.read_test("support", [first]) == {"a" * 64: 1}
        assert store.read_test("support", [first]) == {"a" * 64: 1}, "sent again after a crash"
        again = reopened(store)
        assert again.read_test("support", [second, other]) == {"a" * 64: 2, "b" * 64: 1}
        assert again.read_test("support-2", [first]) == {"a" * 64: 1}

    def test_mlflow_alone_tells_which_was_best(self, store: Store, make_record: Records) -> None:
        begin(store)
        first, second, third, fourth = (
            scored(make_record(n, seed=n), score) for n, score in enumerate([0.5, 0.9, 0.7, 0.8])
        )
        store.end_trial("support", first, None)
        store.end_trial("support", second, None)
        reopened(store).end_trial("support", third, None)  # by a driver that did not begin it
        reopened(store).end_trials("support", [fourth])  # as an import does
        best = store.client.search_runs(
            [store._runs.experiment_id],
            "tags.`sft.kind` = 'trial' and metrics.quality > 0 and tags.`sft.method` = 'lora'",
            order_by=["metrics.quality DESC"],
        )
        assert [run.data.metrics["quality"] for run in best] == [0.9, 0.8, 0.7, 0.5]
        assert best[0].info.run_name.endswith("s1")

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
        self, store: Store, make_record: Records, status: Status, shown: str
    ) -> None:
        begin(store)
        record = make_record(0, status=status)
        store.end_trial("support", record, None)
        run = store.client.get_run(store.run_url_parts("support", record.result.spec.key)[1])
        assert run.info.status == shown
        assert run.data.tags["sft.status"] == status.value
        assert run.data.tags["sft.reason"] == "loss became infinite"

    def test_running_trials_show_their_last_loss(self, store: Store, make_spec: Specs) -> None:
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

    def test_the_untouched_base_has_no_mix(self, store: Store, make_record: Records) -> None:
        begin(store)
        base = make_record(0, method=MethodSpec(name="none"), mix=None, volume=0, examples={})
        store.begin_trial("support", 0, base.stage, base.result.spec)
        assert store.running("support")[0].mix == ""
        store.end_trial("support", base, None)
        assert store.records("support") == [base]

    # -- writing again -----------------------------------------------------------------------------

    def test_a_step_is_logged_once_however_often_it_is_sent(
        self, store: Store, make_spec: Specs
    ) -> None:
        begin(store)
        spec = make_spec()
        store.begin_trial("support", 0, "design", spec)
        store.log_steps("support", spec.key, STEPS[:2])
        again = [
            step._replace(time_ms=step.time_ms + 60_000) for step in STEPS
        ]  # a resumed attempt
        for writer in (store, reopened(store)):
            writer.log_steps("support", spec.key, again)
        assert store.history("support", spec.key) == [*STEPS[:2], again[2]]

    def test_more_points_than_one_batch_holds(self, store: Store, make_spec: Specs) -> None:
        begin(store)
        spec = make_spec()
        store.begin_trial("support", 0, "design", spec)
        steps = [Step(n, n + 1, {"train/loss": float(n), "train/rate": 0.5}) for n in range(1_100)]
        store.log_steps("support", spec.key, steps)
        assert store.history("support", spec.key) == steps

    def test_a_changed_sweep_file_is_refused(self, store: Store) -> None:
        begin(store)
        with pytest.raises(
            StoreError, match="begun with a file of digest aaaaaaaaaaaa, this one has"
        ):
            store.begin_sweep(
                "support",
                spec_text="x",
                spec_digest="b" * 64,
                planned=1,
                datasets=DATASETS,
                objective=OBJECTIVE,
            )
        assert store.spec_text("support") == "name: support\n"

    def test_a_sweep_gone_on_with_is_running_again(self, store: Store) -> None:
        begin(store)
        store.set_sweep_state("support", "interrupted")
        assert store.sweeps()[0].state == "interrupted"
        begin(store, planned=None)
        (info,) = store.sweeps()
        assert (info.state, info.ended_at, info.planned) == ("running", None, None)

    def test_a_run_created_twice_is_one_again(self, store: Store, make_record: Records) -> None:
        begin(store)
        record = make_record(0)
        store.end_trial("support", record, None)
        run = store.client.get_run(store.run_url_parts("support", record.result.spec.key)[1])
        store.client.create_run(run.info.experiment_id, tags=run.data.tags, start_time=1)
        store.end_trial("support", record, None)
        assert store.records("support") == [record]
        assert store.running("support") == []

    @pytest.mark.parametrize(
        "writes",
        [
            "begin log end",
            "begin begin log log end end",
            "end begin log end log",
            "end log begin",
            "begin log end begin log end",
        ],
    )
    def test_writes_may_be_repeated_in_any_order(
        self, store: Store, make_record: Records, writes: str
    ) -> None:
        """By this process or, every other time, by one that knows nothing of what was written."""
        record = make_record(0)
        key = record.result.spec.key
        writer = store
        for write in writes.split():
            begin(writer)
            if write == "begin":
                writer.begin_trial("support", 0, "design", record.result.spec)
            elif write == "log":
                writer.log_steps("support", key, STEPS)
            else:
                writer.end_trial("support", record)
            writer = store if writer is not store else reopened(store)
        for reader in (store, reopened(store)):
            assert reader.records("support") == [record]
            assert reader.history("support", key) == STEPS
            assert reader.running("support") == []
            (info,) = reader.sweeps()
            assert (info.state, info.counts) == ("running", {"complete": 1})
        run = store.client.get_run(store.run_url_parts("support", key)[1])
        assert run.info.status == "FINISHED"
        assert len(list(store._runs.search(""))) == 2, "the sweep's and the trial's"

    # -- requests and answers ----------------------------------------------------------------------

    @pytest.mark.parametrize("action", ACTIONS)
    def test_a_request_comes_back_as_it_was_made(
        self, store: Store, sweep: str, action: str
    ) -> None:
        request = new_request(action, by="test", **NEEDED.get(action, {}))
        store.add_request(sweep, request)
        other = reopened(store)  # as another process would read it
        assert other.requests(sweep) == [request]
        answer = ControlReply(
            id=request.id, at=request.requested_at + 1, accepted=True, words="done"
        )
        other.add_answer(sweep, answer)
        assert store.requests(sweep) == []
        assert store.control_log(sweep) == [(request, answer)]

    def test_requests_are_in_the_order_in_which_they_were_made(
        self, store: Store, sweep: str
    ) -> None:
        requests = [new_request("pause", now=1e9 + n) for n in (0, 1, 2)]
        for request in reversed(requests):
            store.add_request(sweep, request)
        assert store.requests(sweep) == requests
        assert len({new_request("pause", now=1e9).id for _ in range(100)}) == 100

    def test_a_paused_sweep_is_live_and_goes_on(self, store: Store, sweep: str) -> None:
        store.set_sweep_state(sweep, "paused", planned=9)
        info = next(info for info in store.sweeps() if info.name == sweep)
        assert (info.state, info.is_live, info.ended_at, info.planned) == ("paused", True, None, 9)
        store.add_request(sweep, new_request("resume"))
        store.set_sweep_state(sweep, "stopped")
        info = next(info for info in store.sweeps() if info.name == sweep)
        assert not info.is_live
        assert info.ended_at is not None

    @pytest.mark.parametrize("action", ["pause", "resume", "stop", "stop_trial"])
    def test_nobody_is_there_to_take_it(self, store: Store, sweep: str, action: str) -> None:
        store.set_sweep_state(sweep, "interrupted")
        with pytest.raises(
            InputError, match=r"found sweep .* interrupted; allowed while it is run"
        ):
            store.add_request(sweep, new_request(action, **NEEDED.get(action, {})))
        assert store.requests(sweep) == []

    @pytest.mark.parametrize("action", ["clone", "raise_budget"])
    def test_what_can_wait_for_the_next_start_is_kept(
        self, store: Store, sweep: str, action: str
    ) -> None:
        store.set_sweep_state(sweep, "finished")
        store.add_request(sweep, new_request(action, **NEEDED[action]))
        assert [each.action for each in store.requests(sweep)] == [action]

    def test_a_sweep_that_is_not_there_is_said(self, store: Store) -> None:
        with pytest.raises(StoreError, match="no such sweep"):
            store.add_request("nosuch", new_request("pause"))

    def test_a_long_request_is_refused_before_the_store_would_cut_it(
        self, store: Store, sweep: str
    ) -> None:
        changes = {f"name{i}": "x" * 300 for i in range(20)}
        with pytest.raises(
            InputError, match=r"found a request of \d,\d+ characters; allowed: 4,000"
        ):
            store.add_request(sweep, new_request("clone", trial=1, changes=changes))

    def test_long_words_of_an_answer_are_cut(self, store: Store, sweep: str) -> None:
        request = new_request("pause")
        store.add_request(sweep, request)
        store.add_answer(
            sweep, ControlReply(id=request.id, at=1.0, accepted=False, words="a" * 5000)
        )
        answer = store.control_log(sweep)[0].answer
        assert answer is not None
        assert answer.words == "a" * 999 + "…"

    def test_tags_that_somebody_edited_are_left_out(self, store: Store, sweep: str) -> None:
        run = store._runs.sweep(sweep)
        kept = new_request("pause")
        store.add_request(sweep, kept)
        for name, text in {
            "sft.control.bad": "{",
            "sft.control.other": kept.model_dump_json(),
            f"sft.answer.{kept.id}": "no answer",
        }.items():
            store.client.set_tag(run.info.run_id, name, text)
        assert store.control_log(sweep) == [(kept, None)]

    # -- models ------------------------------------------------------------------------------------

    def test_a_registered_model_comes_back_by_its_alias(self, store: Store, tmp_path: Path) -> None:
        begin(store)
        model = tmp_path / "model"
        (model / "sub").mkdir(parents=True)
        (model / "model.safetensors").write_bytes(b"weights")
        (model / "sub" / "config.json").write_text("{}")
        name = f"support-{uuid.uuid4().hex[:8]}"

        def register(alias: str) -> str:
            return store.register_model(
                "support", Model(model, name, alias, "c: 1\n"), {"test/f1": 0.5}
            )

        assert [register("best"), register("best"), register("live")] == ["1", "1", "1"]
        (model / "model.safetensors").write_bytes(b"others")
        assert register("best") == "2"

        fetched = Path(
            mlflow.artifacts.download_artifacts(
                store.client.get_model_version_by_alias(name, "live").source,
                tracking_uri=store._uri,
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

    # -- what goes wrong ---------------------------------------------------------------------------

    def test_an_unknown_sweep_is_refused_with_the_nearest_name(self, store: Store) -> None:
        begin(store, "support")
        begin(store, "billing's")
        with pytest.raises(
            StoreError, match=r"'suport'; allowed: support, billing's; did .* 'support'"
        ):
            store.records("suport")
        assert store.spec_text("billing's") == "name: support\n"

    def test_an_unknown_trial_is_refused(self, store: Store) -> None:
        begin(store)
        with pytest.raises(StoreError, match="'support' holds no trial 0123"):
            store.log_steps("support", "0123", STEPS)

    def test_a_deleted_experiment_is_refused(self, store: Store) -> None:
        experiment = store.client.get_experiment(store._runs.experiment_id)
        store.client.delete_experiment(experiment.experiment_id)
        with pytest.raises(StoreError, match=r"is deleted, .*; restore it with `MLFLOW_"):
            Store.open(store.workspace, store._uri, project=experiment.name)

    def test_a_damaged_store_is_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(
            StoreError, match=r"^tracking store .*; (see that it is|move the file)"
        ) as raised:
            self.open_damaged(tmp_path)
        assert "\n" not in str(raised.value)
