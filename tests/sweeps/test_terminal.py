"""Answers as text: recommend, predict, laws, import, status and train as a user reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sweeps import cli
from sweeps.finetune.final import FinalModel
from sweeps.standing import Standing
from sweeps.terminal import _between, ended_line, final_lines, status_lines
from tests.benchmarks.synthetic import synthetic_sweep
from tests.factories import law_score, numbered, recommend, scored_record, store_sweep
from tracker.errors import SftSelectError
from tracker.export.config import Config
from tracker.importing.rows import REQUIRED
from tracker.metrics import Interval, weighted_quality
from tracker.numbers import score
from tracker.price import Price
from tracker.spending import Spending
from tracker.store.runs import SweepInfo
from tracker.store.store import Store
from tracker.task import SuiteScore
from tracker.trial import Objective, TakenOver, TrialRecord

_NOTHING_SPENT = Spending((), 0, None)
SIZES = [0, *(200 * 2**k for k in range(6))]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The error that ``sft-select`` prints in one line and exits with 2 for."""
    error = call(*arguments).exception
    assert isinstance(error, SftSelectError), error
    assert error.exit_code == 2
    return error.for_command_line()


def write(path: Path, models: tuple[str, ...] = ("small", "large")) -> Path:
    rows = ["base,family,method,rank,learning_rate,task,metric,direction,examples,value"]
    for number, model in enumerate(models):
        for method in ("full", "adalora"):
            for n in SIZES:
                loss = 2.5 - 0.3 * number - 0.1 * (method == "full") * (n > 0)
                loss *= (1 + n / 300) ** -0.15
                rows.append(f"{model},{model},{method},,0.001,t,loss,minimize,{n},{loss:.5f}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the table imported as the sweep ``outside``."""
    folder = tmp_path_factory.mktemp("outside")
    table = write(folder / "table.csv")
    done = call(
        "import", table, "--sweep", "outside", "--map", "model=base", "--workspace", folder / "runs"
    )
    assert done.exit_code == 0, done.output
    assert "26 trials (26 complete)" in done.output
    assert "note: t: loss in nats per token over 2 families" in done.output
    assert "sft-select recommend outside" in done.output
    return folder / "runs"


def test_importing_again_is_no_second_sweep(workspace: Path) -> None:
    table = workspace.parent / "table.csv"
    again = call(
        "import", table, "--sweep", "outside", "--map", "model=base", "--workspace", workspace,
        "--json",
    )  # fmt: skip
    taken = json.loads(again.stdout)
    assert (taken["trials"], taken["models"], taken["tasks"]) == (26, 2, {"t": "loss_nats"})
    assert taken["methods"] == ["adalora", "full", "none"]
    other = write(workspace.parent / "other.csv", ("small",))
    assert "begun with" in refused(
        "import", other, "--sweep", "outside", "--map", "model=base", "--workspace", workspace
    )


def test_the_help_names_the_columns() -> None:
    text = " ".join(call("import", "--help").output.split())
    assert all(column in text for column in REQUIRED)
    assert "mix:TASK (the share of TASK in the examples" in text
    assert "replay (general text rows added" in text


def test_a_table_that_does_not_fit_creates_nothing(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv")
    runs = tmp_path / "runs"
    message = refused("import", table, "--sweep", "a", "--workspace", runs)
    assert "table.csv:1: no column 'model'" in message
    assert "--sweep: found 'a b'" in refused("import", table, "--sweep", "a b", "--workspace", runs)
    assert "OURS=THEIRS" in refused(
        "import", table, "--sweep", "a", "--map", "x", "--workspace", runs
    )
    assert "either a table" in refused("import", "--sweep", "a", "--workspace", runs)
    assert not runs.exists()


def test_predict_answers_in_json_however_far(workspace: Path) -> None:
    done = call(
        "predict", "outside", "--task", "t", "--examples", 1_000_000, "--json",
        "--workspace", workspace,
    )  # fmt: skip
    forecast = json.loads(done.stdout)
    assert (forecast["measure"], forecast["examples"], forecast["outside"]) == (
        "loss_nats",
        1_000_000,
        4,
    )
    best = forecast["predictions"][0]
    assert (best["model"], best["method"]["name"]) == ("large", "full")
    assert set(best["intervals"]) == {"50", "80", "95"}
    assert best["extrapolation"] == pytest.approx(1_000_000 / SIZES[-1], rel=1e-4)
    assert forecast["notes"]


def test_predict_prints_a_table_and_far_only_when_allowed(workspace: Path) -> None:
    near = call("predict", "outside", "--task", "t", "--examples", 8000, "--workspace", workspace)
    assert "large full lr=0.001" in near.output
    assert "P(best)" in near.output
    assert "4 of 4 are extrapolated" in near.output
    far = ("predict", "outside", "--task", "t", "--examples", 1_000_000, "--workspace", workspace)
    assert "allow-far" in refused(*far)
    assert call(*far, "--allow-far").exit_code == 0


def test_recommend_answers_but_writes_no_file_to_train(workspace: Path, tmp_path: Path) -> None:
    done = call("recommend", "outside", "--json", "--workspace", workspace)
    answer = json.loads(done.stdout)
    assert (answer["choice"]["model"], answer["choice"]["volume"]) == ("large", SIZES[-1])
    assert answer["question"] == "lowest weighted loss (t 1)"
    assert answer["choice"]["quality"]["value"] < 0
    assert any("2 families" in caveat for caveat in answer["caveats"])
    target = call(
        "recommend", "outside", "--target-quality", "-1.7", "--json", "--workspace", workspace
    )
    assert json.loads(target.stdout)["target_quality"]["quality"] == -1.7
    wanted = tmp_path / "config.yaml"
    assert "measured elsewhere" in refused(
        "recommend", "outside", "-o", wanted, "--workspace", workspace
    )
    assert not wanted.exists()


def stored(folder: Path, name: str, records: Sequence[TrialRecord]) -> None:
    """A sweep of *records* in the workspace *folder*."""
    store_sweep(Store.open(folder), name, records, Objective(weights={"intent": 1.0}))


def measured(model: str, volume: int, mix: str = "even") -> TrialRecord:
    """A run on a curve of full tuning, with its loss and what it forgot."""
    score = law_score(model, "full", volume)
    return scored_record(
        model=model,
        volume=volume,
        mix=mix,
        scores={"intent": score},
        bits_per_byte=2 * (1 - score),
        forgetting=0.1 * (volume / 2000) ** 0.5,
    )


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two sweeps of two sizes and five volumes under one method.

    ``lawful`` has one mix; in ``mixed`` each size has one run of the mix ``rare`` besides.
    """
    folder = tmp_path_factory.mktemp("laws")
    sizes, models = (125, 250, 500, 1000, 2000), ("small", "large")
    records = [measured(model, volume) for model in models for volume in sizes]
    stored(folder, "lawful", records)
    stored(folder, "mixed", [*records, *(measured(model, 250, "rare") for model in models)])
    return folder


def test_every_law_is_listed_in_words(lawful: Path) -> None:
    done = call("laws", "lawful", "--all", "--workspace", lawful)
    assert done.exit_code == 0, done.output
    assert "small full lr=0.001, even, intent  5     0         125 to 2,000" in done.output
    assert "Forgetting by full on english: " in done.output
    assert "Loss to score, intent: " in done.output
    assert "Not fitted: mix: large full lr=0.001, intent and 1 more: " in done.output


def test_predict_names_a_reason_once_and_the_configurations_on_request(lawful: Path) -> None:
    words = ["predict", "mixed", "--task", "intent", "--examples", 3000, "--workspace", lawful]
    lines = call(*words).output.splitlines()
    (line,) = [line for line in lines if "without a prediction: " in line]
    assert line.startswith("2 configurations without a prediction: ")
    assert line.endswith("(their names with --all)")
    named = call(*words, "--all").output
    assert "  small full lr=0.001, rare" in named
    assert "(their names" not in named


def test_the_laws_of_a_sweep_fit_on_a_screen(lawful: Path) -> None:
    """A line a task, a line a kind; each reason once, with how many laws it holds for."""
    lines = call("laws", "lawful", "--workspace", lawful).output.splitlines()
    assert len(lines) <= 12
    assert lines[0].startswith("intent (score): 2 curves, median held-out error ")
    assert lines[0].endswith("; no glitch")
    assert any(line.startswith("forgetting: 1 law, median held-out error ") for line in lines)
    refused = [line for line in lines if line.startswith("not fitted: ")]
    assert [line.split(": ")[1] for line in refused] == ["2"]
    assert lines[-1] == "Every law with its parameters: add --all"


def test_a_recommendation_begins_with_four_lines(lawful: Path, tmp_path: Path) -> None:
    words = ["recommend", "lawful", "--workspace", lawful]
    short = call(*words).output.splitlines()
    assert [line.partition(": ")[0] for line in short[:4]] == [
        "Choice",
        "How sure",
        "Scores",
        "Next",
    ]
    assert len(short) == 5
    assert short[4].startswith("Add --why ")
    assert "-o recommended.yaml" in short[4]
    full = call(*words, "--why").output.splitlines()
    assert full[:4] == short[:4]
    assert any(line.startswith("Question: ") for line in full)
    assert any(line.startswith("Caveat: ") for line in full)
    file = tmp_path / "recommended.yaml"
    written = call(*words, "-o", file).output.splitlines()
    assert written[3] == f"Next: sft-select train {file} --workspace {lawful}"
    assert file.exists()


def test_where_no_store_is_the_message_says_what_to_type(
    lawful: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name a sweep's --workspace, or start a sweep with" in refused("recommend", "lawful")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "runs").symlink_to(lawful)
    assert "found one with --workspace demo/runs" in refused("recommend", "lawful")


def test_json_holds_forms_domains_errors_and_keys(lawful: Path) -> None:
    words = ["laws", "lawful", "--workspace", lawful, "--json", "--metric", "bits_per_byte"]
    done = call(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["sweep"] == "lawful"
    assert [curve["metric"] for curve in found["curves"]] == ["bits_per_byte"] * 2
    for law in (*found["curves"], *found["forgetting"]):
        assert law["form"]
        assert law["held_out_error"] is not None
        assert len(law["used"]) in (5, 10)
    assert found["loss_to_score"][0]["proxy"] is True
    assert len(found["refused"]) == 2


def test_a_recommendation_can_include_the_auxiliary_laws(lawful: Path) -> None:
    words = ["recommend", "lawful", "--workspace", lawful]
    plain, done = (call(*words, *more) for more in ([], ["--laws"]))
    assert done.exit_code == 0, done.output
    assert done.output.startswith(plain.output)
    auxiliary = done.output.removeprefix(plain.output)
    listed = call("laws", "lawful", "--all", "--workspace", lawful).output
    assert auxiliary.strip() in listed
    assert "Forgetting by full on english: " in auxiliary
    assert "Loss to score, intent: " in auxiliary
    found = json.loads(call(*words, "--laws", "--json").output)
    assert set(found["laws"]) == {"forgetting", "mixes", "loss_to_score", "refused"}
    assert found["laws"]["forgetting"][0]["form"]
    assert "laws" not in json.loads(call(*words, "--json").output)


def test_an_unknown_metric_is_one_line(lawful: Path) -> None:
    words = ["laws", "lawful", "--workspace", lawful, "--metric", "accuracy"]
    assert "--metric: found 'accuracy'; allowed: score" in refused(*words)


def test_a_final_training_shows_its_weighted_quality_and_what_was_forgotten() -> None:
    sampled = synthetic_sweep(0)
    answer = recommend(sampled.records, sampled.objective)
    config = Config(sweep="s", trial=answer.trial, recommendation=answer)
    result = next(r.result for r in sampled.records if r.result.spec.key == answer.trial.key)
    english = SuiteScore(suite="english", measure="bits_per_byte", before=2.0, after=2.3)
    dutch = SuiteScore(suite="dutch", measure="score", before=0.5, after=0.6)
    result = result.model_copy(update={"general": (english, dutch)})
    lines = final_lines(FinalModel(result, Path("model"), "s", "1"), config)
    total = sum(sampled.objective.weights.values())
    shares = {task: weight / total for task, weight in sampled.objective.weights.items()}
    quality = weighted_quality(result, shares, {})
    assert (
        f"validation quality, weighted: {score(quality)} (predicted on average over seeds: "
        in "\n".join(lines)
    )
    assert "general    english: lost 15.0 % in bits per byte (2.000 before, 2.300 after)" in lines
    assert "general    dutch: gained 10.0 points (score 50.0 % before, 60.0 % after)" in lines
    assert lines[-1] == "registered as s version 1; files in model"


def standing(spending: Spending = _NOTHING_SPENT, *, live: bool = False) -> Standing:
    return Standing(spending, None, [], [], live)


def test_status_says_what_was_spent_and_what_is_left() -> None:
    price = Price(per_device_hour=3.6, currency="EUR")
    spending = Spending(
        (600.0,) * 6,
        6,
        12,
        workers=1,
        budget_seconds=7200.0,
        price=price,
        clock_per_device_second=1,
    )
    live = standing(spending, live=True)
    assert live.lines() == [
        "1 h 0 min (3.60 EUR) of device time spent, 1 h 0 min (3.60 EUR) of its budget left, "
        "60 min to go (80 % interval)"
    ]
    shown = live.as_json()
    assert shown["cost_left"] == {"amount": 3.6, "currency": "EUR"}
    assert (shown["device_seconds"], shown["best"]) == (3600.0, None)
    without = standing(spending._replace(price=None, budget_seconds=None))
    assert without.lines() == ["1 h 0 min of device time spent"]
    assert without.as_json()["cost"] is None


def test_status_warns_of_a_silent_driver() -> None:
    now = 1_700_000_000.0

    def said(state: str, **facts: str) -> str:
        info = SweepInfo("s", state, 9, now - 3600, None, {"complete": 2}, facts)
        return "\n".join(status_lines(info, standing(), now=now))

    silent = "no word from its driver since "
    for state in ("running", "paused"):
        assert silent not in said(state, seen_at=str(now - 119))
        since = time.strftime("%H:%M", time.localtime(now - 121))
        assert silent + since in said(state, seen_at=str(round(now - 121)))
        assert silent not in said(state), "a sweep of before drivers said so"
    for state in ("finished", "stopped", "interrupted"):
        assert silent not in said(state, seen_at="0")
    assert f"{silent}1970-01-0" in said("running", seen_at="86400")


@pytest.mark.parametrize(
    ("state", "following"),
    [
        ("finished", "  next: sft-select recommend s --workspace demo/runs"),
        (
            "interrupted",
            "  to go on: sft-select run FILE --workspace demo/runs, with its sweep file",
        ),
    ],
)
def test_status_ends_with_the_next_command(state: str, following: str) -> None:
    info = SweepInfo("s", state, 9, 0.0, None, {"complete": 2}, {})
    assert status_lines(info, standing(), " --workspace demo/runs")[-1] == following


def test_the_ends_of_the_scale_bound_no_score() -> None:
    assert _between(Interval(low=0.0, high=1.0), "score") == "unbounded"
    assert _between(Interval(low=0.0, high=0.9), "score") == "below 90.0 %"
    assert _between(Interval(low=0.2, high=1.0), "score") == "above 20.0 %"
    assert _between(Interval(low=0.2, high=0.9), "score") == "20.0 to 90.0 %"
    assert _between(Interval(low=1.2, high=1.9), "loss_nats") == "1.200 to 1.900"


def test_what_was_taken_over_is_shown_and_not_spent() -> None:
    records = numbered(scored_record(volume=volume, seconds=30.0) for volume in (100, 200, 400))
    origin = TakenOver(sweep="before", key=records[0].result.spec.key)
    taken = [
        records[0].model_copy(update={"taken_over": origin}),
        records[1].model_copy(update={"taken_over": origin.model_copy(update={"rescored": True})}),
        records[2],
    ]
    line = ended_line(taken)
    assert "; 30 s of device time; 2 trials taken over (1 scored anew)" in line
    assert "which took 1 min 0 s where they ran and cost nothing here" in line
    assert "taken over" not in ended_line(records)
