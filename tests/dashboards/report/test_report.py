"""The report as a file: whole, self-contained, and the pages' own words."""

import base64
import hashlib
import re
import subprocess
import sys

import pytest
from dash import html

from dashboards.app import PAGES
from dashboards.components import card, data_table
from dashboards.pages import recommend
from dashboards.report.document import Section, document, plotly_script, policy
from dashboards.report.render import Renderer
from dashboards.report.sections import MAX_TRIALS, MAX_UNFOLDED, best_trials, folded, sections
from dashboards.state import Query
from tracker.trial import Objective


@pytest.fixture(scope="module")
def written(workspace, tmp_path_factory):
    """The report of the made-up sweep, as the verb writes it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sweeps.cli", "report", "support", "-o", str(path)),
            *("--workspace", str(workspace), "--constraint", "examples=1000"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {path}")
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_report_holds_the_page_as_it_is(written, records, view_of):
    query = Query.of("support", constraint="examples=1000")
    parts = recommend.content(view_of(records), query, "light")
    renderer = Renderer()  # one for all: charts are numbered through the whole report
    pages = [renderer.html(part) for part in parts if part and "yaml-text" not in str(part)]
    assert len(pages) > 3
    assert all(page in written for page in pages)
    assert "With 1,000 examples" in " ".join(pages)


@pytest.mark.slow
def test_nothing_is_fetched_and_only_the_report_s_scripts_run(written):
    body = written.replace(plotly_script(), "")
    assert not re.search(r"\b(src|href)=\"(?!#)", body)
    assert "url(" not in body
    assert "@import" not in body
    allowed = re.search(r"script-src ([^;]*);", written)[1].split()
    scripts = re.findall(r"<script>(.*?)</script>", written, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert allowed == [f"'sha256-{digest}'" for digest in digests]
    assert "default-src 'none'" in written


@pytest.mark.slow
def test_every_chart_is_there_in_both_themes(written):
    charts = len(re.findall(r'class="chart" data-figure', written))
    assert charts > 3
    for theme in ("light", "dark"):
        assert len(re.findall(rf'id="figure-{theme}-\d+"', written)) == charts


@pytest.mark.slow
def test_no_folder_of_the_machine_that_wrote_it_is_in_it(written, workspace):
    body = written.replace(plotly_script(), "")
    assert str(workspace) not in body
    assert not re.search(r"(?:path|base_model|model_name_or_path): /", body)
    assert "Show recommended.yaml" in body


def test_generalisation_has_every_model_and_the_mix_says_which_it_is_of(view_of, records, words):
    view = view_of(records)
    parts = {part.title: part for part in sections(view, Query("support"))}
    text = words(parts["Generalisation"].content("light"))
    assert all(f"{model} " in text for model in ("en-0.1m", "en-0.3m", "en-1m"))
    titles = str(parts["Generalisation"].content("light"))
    assert titles.count("Quality against what is lost on") == 3
    assert "en-1m by Full tuning. The dashboard shows every model" in words(
        parts["Task mix"].content("light")
    )


def test_long_tables_of_laws_are_folded(view_of, records):
    rows = [(str(i), "x") for i in range(MAX_UNFOLDED + 1)]
    long = folded(card("Laws", data_table(("a", "b"), rows)))
    assert isinstance(long.children[1], html.Details)
    assert not getattr(long.children[1], "open", False)
    short = folded(card("Laws", data_table(("a", "b"), rows[:-1])))
    assert not isinstance(short.children[1], html.Details)


def test_data_cannot_end_a_script_nor_become_markup():
    evil = "</script><script>alert(1)</script>"
    text = document(evil, html.H1(evil), [Section("a", evil, lambda _theme: html.P(evil))])
    assert evil not in text
    assert policy(["a"]) != policy(["b"])


def test_the_best_trials_come_first_and_are_counted(view_of, records, words):
    view = view_of(records)
    text = words(best_trials(view))
    assert "scored trials, by weighted quality" in text
    rows = best_trials(view).children[1].children.children[1].children
    assert len(rows) <= MAX_TRIALS
    values = [float(row.children[5].children.removesuffix(" %")) for row in rows]
    assert values == sorted(values, reverse=True)
    assert "No trial has a score yet" in words(best_trials(view_of([])))


def test_every_page_that_shows_results_has_a_section(view_of, records):
    titles = {section.title for section in sections(view_of(records), Query("support"))}
    live = {"Sweep"}  # what runs now is no finding
    assert {page.title for page in PAGES} - live <= titles


def test_a_reason_stands_in_place_of_a_page_without_results(view_of, words):
    view = view_of([], objective=Objective(weights={"intent": 1}))
    text = [words(section.content("light")) for section in sections(view, Query("support"))]
    assert "No recommendation yet" in text[0]
    assert all(text)


def test_an_unknown_sweep_and_a_wrong_question_are_a_line_each(workspace, tmp_path):
    def error(*words):
        command = [sys.executable, "-m", "dashboards.report", "--workspace", str(workspace)]
        done = subprocess.run(
            [*command, "--output", str(tmp_path / "r.html"), *words], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert not (tmp_path / "r.html").exists()
        return done.stderr

    assert error("--sweep", "nosuch") == "sweep 'nosuch': not in the store; sweeps: support\n"
    assert error("--sweep", "support", "--target-quality", "high") == (
        "--target-quality: found 'high'; allowed: a number, such as 0.5\n"
    )
