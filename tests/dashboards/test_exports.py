"""What is taken away: the command line's bytes, and files of fixed names alone."""

import io
import subprocess
import sys
import zipfile

import pytest

from dashboards.answers import EVIDENCE_NAME, FILE_NAME, command, overrides_in
from dashboards.app import create_app
from dashboards.exports import FILES, export_path, file_of
from dashboards.state import Query
from tracker.errors import InputError
from tracker.export import TRAINERS

HEADERS = {"Host": "127.0.0.1:8050"}


@pytest.fixture(scope="module")
def client(store):
    return create_app(store).server.test_client()


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query.of(weight=["intent=1", "slots=3"], constraint=["examples=1000", "min.slots=0.2"]),
        Query.of(constraint=["forgetting.english=none", "peak_bytes=8e9"], target_quality="0.7"),
    ],
)
def test_the_yaml_is_what_the_command_line_writes(client, workspace, tmp_path, query):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in query.given]
    path = tmp_path / FILE_NAME
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sweeps.cli", "recommend", "support", "-o", str(path)),
            *("--workspace", str(workspace), *options),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = client.get(export_path("support", query), headers=HEADERS)
    assert answer.status_code == 200
    assert answer.data == path.read_bytes()


def test_the_command_is_the_question(analysis):
    query = Query.of(
        weight="intent=2.5", constraint=["flops=1e12", "a b=none"], target_quality="0.9"
    )
    assert command("my sweep", overrides_in(query)) == (
        "sft-select recommend 'my sweep' --weight intent=2.5 --constraint flops=1e+12 "
        "--constraint 'a b=none' --target-quality 0.9 -o recommended.yaml"
    )


def test_another_trainer_s_zip_holds_its_files_and_says_where_the_rows_are(client, analysis):
    for to in TRAINERS:
        answer = client.get(export_path("support", Query(), f"{to}.zip"), headers=HEADERS)
        recipe = analysis.answer().recipes[to]
        if isinstance(recipe, str):
            assert answer.status_code == 409
            assert answer.text == f"{recipe}\n"
            continue
        assert answer.mimetype == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            assert set(archive.namelist()) == {*recipe, FILE_NAME, EVIDENCE_NAME, "README.txt"}
            assert archive.read(f"{to}.yaml").decode() == recipe[f"{to}.yaml"]
            assert f"export {FILE_NAME} --to {to}" in archive.read("README.txt").decode()


def test_a_zip_is_the_same_whenever_it_is_made(analysis):
    answer = analysis.answer()
    name = next(f"{to}.zip" for to in TRAINERS if not isinstance(answer.recipes[to], str))
    assert file_of(answer, name) == file_of(answer, name)


@pytest.mark.parametrize(
    "path",
    [
        "/export/support/mlflow.db",
        "/export/support/..%2f..%2fetc%2fpasswd",
        "/export/support/../../etc/passwd.zip",
        "/export/support/%2e%2e/recommended.yaml",
        "/export/..%2f..%2fetc/recommended.yaml",
        "/export/nosuch/trl.zip",
    ],
)
def test_nothing_else_can_be_fetched(client, path):
    answer = client.get(path, headers=HEADERS)
    assert answer.status_code == 404 or answer.mimetype == "text/html"  # Dash's own empty page
    assert b"root:" not in answer.data


def test_a_wrong_question_is_refused_in_words(client):
    answer = client.get("/export/support/recommended.yaml?target_quality=high", headers=HEADERS)
    assert (answer.status_code, answer.text) == (
        409, "target_quality: found 'high'; allowed: a number, such as 0.5\n",
    )  # fmt: skip


def test_what_was_measured_elsewhere_cannot_be_taken_away(analysis):
    answer = analysis.answer()
    trial = answer.recommendation.trial.model_copy(update={"origin": "flan.csv"})
    there = answer.recommendation.model_copy(update={"trial": trial})
    elsewhere = answer._replace(config=None, evidence=None, recommendation=there)
    with pytest.raises(InputError, match=r"measured elsewhere, in the table flan\.csv"):
        file_of(elsewhere, FILE_NAME)
    assert file_of(answer, "passwd") is None
    assert set(FILES) == {FILE_NAME, EVIDENCE_NAME, *(f"{to}.zip" for to in TRAINERS)}
