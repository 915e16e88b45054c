"""``import`` and ``predict`` as a user calls them, then the verbs and pages that follow."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sweeps import cli
from tracker.errors import SftSelectError
from tracker.importing.source import REQUIRED

SIZES = [0, *(200 * 2**k for k in range(6))]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The error that ``sft-select`` prints in one line and exits with 2 for."""
    error = call(*arguments).exception
    assert isinstance(error, SftSelectError), error
    assert error.exit_code == 2
    return str(error)


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
    reach = call("recommend", "outside", "--reach", "-1.7", "--json", "--workspace", workspace)
    assert json.loads(reach.stdout)["reach"]["quality"] == -1.7
    wanted = tmp_path / "config.yaml"
    assert "measured elsewhere" in refused(
        "recommend", "outside", "-o", wanted, "--workspace", workspace
    )
    assert not wanted.exists()
