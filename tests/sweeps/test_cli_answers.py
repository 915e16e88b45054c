"""Recommend, predict, laws, import and replay as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sweeps import cli
from tests.factories import law_score, numbered, scored_record
from tracker.errors import SftSelectError
from tracker.importing.rows import REQUIRED
from tracker.store.store import Store
from tracker.trial import Objective

COLUMNS = "model,model_params,method,learning_rate,task,metric,direction,examples,value"
SIZES = [0, *(200 * 2**k for k in range(6))]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def replayed(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps.cli", "replay", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


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
    told = " ".join(call("import", "--help").output.split())
    assert all(column in told for column in REQUIRED)
    assert "mix:TASK (the share of TASK in the examples" in told
    assert "replay (general text rows added" in told


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


def test_predict_prints_a_table_and_refuses_far_unless_told(workspace: Path) -> None:
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
    reach = call(
        "recommend", "outside", "--target-quality", "-1.7", "--json", "--workspace", workspace
    )
    assert json.loads(reach.stdout)["target_quality"]["quality"] == -1.7
    wanted = tmp_path / "config.yaml"
    assert "measured elsewhere" in refused(
        "recommend", "outside", "-o", wanted, "--workspace", workspace
    )
    assert not wanted.exists()


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored sweep of two sizes and five volumes under one method and mix."""
    folder = tmp_path_factory.mktemp("laws")
    records = []
    for model in ("small", "large"):
        for volume in (125, 250, 500, 1000, 2000):
            score = law_score(model, "full", volume)
            lost = 0.1 * (volume / 2000) ** 0.5
            records.append(
                scored_record(
                    model=model,
                    volume=volume,
                    scores={"intent": score},
                    bits_per_byte=2 * (1 - score),
                    forgetting=lost,
                )
            )
    store = Store.open(folder)
    store.begin_sweep(
        "told",
        spec_text="name: told\n",
        spec_digest="0" * 64,
        planned=len(records),
        datasets=(),
        objective=Objective(weights={"intent": 1.0}),
    )
    store.end_trials("told", numbered(records))
    return folder


def test_every_law_is_listed_in_words(lawful: Path) -> None:
    done = call("laws", "told", "--workspace", lawful)
    assert done.exit_code == 0, done.output
    assert "small full lr=0.001, even, intent  5     0         125 to 2,000" in done.output
    assert "Forgetting by full on english: " in done.output
    assert "Link, intent: " in done.output
    assert "Not fitted: mix: large full lr=0.001, intent and 1 more: " in done.output


def test_json_holds_forms_domains_errors_and_keys(lawful: Path) -> None:
    words = ["laws", "told", "--workspace", lawful, "--json", "--metric", "bits_per_byte"]
    done = call(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["sweep"] == "told"
    assert [curve["metric"] for curve in found["curves"]] == ["bits_per_byte"] * 2
    for law in (*found["curves"], *found["forgetting"]):
        assert law["form"]
        assert law["held_out_error"] is not None
        assert len(law["used"]) in (5, 10)
    assert found["loss_to_score"][0]["proxy"] is True
    assert len(found["refused"]) == 2


def test_a_recommendation_can_bring_the_further_laws(lawful: Path) -> None:
    words = ["recommend", "told", "--workspace", lawful]
    plain, done = (call(*words, *more) for more in ([], ["--laws"]))
    assert done.exit_code == 0, done.output
    assert done.output.startswith(plain.output)
    told = done.output.removeprefix(plain.output)
    listed = call("laws", "told", "--workspace", lawful).output
    assert told.strip() in listed
    assert "Forgetting by full on english: " in told
    assert "Link, intent: " in told
    found = json.loads(call(*words, "--laws", "--json").output)
    assert set(found["laws"]) == {"forgetting", "mixes", "loss_to_score", "refused"}
    assert found["laws"]["forgetting"][0]["form"]
    assert "laws" not in json.loads(call(*words, "--json").output)


def test_an_unknown_metric_is_one_line(lawful: Path) -> None:
    words = ["laws", "told", "--workspace", lawful, "--metric", "accuracy"]
    assert "--metric: found 'accuracy'; allowed: score" in refused(*words)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six models whose losses are power laws; the best at the largest volume is `m3`."""
    path = tmp_path_factory.mktemp("replay") / "table.csv"
    rows = [
        f"m{i},{10**6 * (i + 1)},full,,t,loss,minimize,{100 * 2**step},"
        f"{3.0 + abs(i - 3) * 0.1 + 2 * (100 * 2**step) ** -0.3:.5f}"
        for i in range(6)
        for step in range(6)
    ]
    path.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")
    return path


def test_prints_regret_by_strategy_and_writes_the_plot(recorded: Path, tmp_path: Path) -> None:
    fractions = ["--budget-fraction", 0.3, "--budget-fraction", 0.6]
    strategies = ["--strategy", "halving", "--strategy", "random"]
    done = replayed(recorded, *strategies, *fractions, "--seeds", 2, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    table = [row for row in rows if row and row[0] in ("halving", "random")]
    assert [row[:2] for row in table] == [
        ["halving", "0.3"],
        ["halving", "0.6"],
        ["random", "0.3"],
        ["random", "0.6"],
    ]
    assert table[1][4:6] == ["0.00", "0.00"], "halving with money for its whole bracket is right"
    data = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert data["best"] == "m3 full"
    page = (tmp_path / "out" / "replay.html").read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_json_holds_every_run_and_its_curve(recorded: Path) -> None:
    done = replayed(recorded, "--strategy", "ats", "--seeds", 2, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unit"] == "%"
    assert found["cost_unit"] == "parameters × examples"
    assert found["full_cost"] == pytest.approx(3200e6 * 21)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["runs"][0]["curve"][-1]["share"] == 0.25


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--strategy", "halvings"], "halving"),
        (["--budget-fraction", "0"], "above 0"),
        (["--start", "150"], "100, 200, 400"),
        (["--cost", "hours"], "seconds, flops, examples"),
        (["--cost", "flops"], "not recorded of every fine-tune; allowed: examples"),
    ],
)
def test_bad_options_are_one_line_each(recorded: Path, words: list[str], problem: str) -> None:
    done = replayed(recorded, *words)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert problem in line
