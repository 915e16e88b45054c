"""All frozen answers, by section, and the file that keeps them."""

from __future__ import annotations

import functools
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards.state import Query
from sweeps.playground.write import write_playground
from sweeps.profile import profile
from sweeps.resolve import read_sweep
from tests.frozen import answers, inputs, pages
from tests.frozen.answers import Question
from tests.frozen.difference import Answers, plain, sketch, split
from tracker.decision.analysis import Analysis
from tracker.importing.trials import read_table

FILE = inputs.RECORDED / "frozen.json.gz"
PUBLIC = "public"  # the section that needs tables beside the project

SUPPORT = {
    "own": Question(),
    "reach": Question(target_quality=0.6),
    "reach too far": Question(target_quality=0.99),
    "weights": Question(["intent=1", "slots=3"]),
    "one task": Question(["slots=1"], ["forgetting.english=none"]),
    "forgetting": Question((), ["forgetting.english=0.03"]),
    "parameters": Question((), ["parameters=400000"]),
    "examples": Question((), ["examples=500"]),
    "examples of a task": Question((), ["examples.intent=250"]),
    "min": Question((), ["min.slots=0.5", "forgetting.english=none"]),
    "over-reach": Question((), ["over_reach.intent=0.07"]),
    "over-reach kept": Question((), ["over_reach.intent=0.1"]),
    "seconds": Question((), ["device_seconds=4"]),
    "several": Question(
        ["intent=1"], ["gpu_hours=0.01", "adapter_bytes=100000", "flops=1e12", "examples=1000"], 0.4
    ),
    "nothing": Question((), ["min.intent=1"]),
    "amiss": Question(["nosuch=1"], ["nosuch=1"]),
}
DEMO = {
    "own": Question(),
    "reach": Question(target_quality=0.4),
    "reach too far": Question(target_quality=0.95),
    "weights": Question(["topic=3", "facts=1"]),
    "reverse alone": Question(["reverse=1"]),
    "forgetting": Question((), ["forgetting.language=0.02"]),
    "forgetting of a task": Question((), ["forgetting.kindred=0.1", "forgetting.language=none"]),
    "parameters": Question((), ["parameters=150000"]),
    "examples": Question((), ["examples=800"]),
    "min": Question((), ["min.topic=0.6"]),
    "over-reach": Question((), ["over_reach.topic=0.3"]),
    "memory": Question((), ["peak_bytes=650000000"]),
    "seconds": Question((), ["device_seconds=20"]),
    "operations": Question((), ["flops=1e11", "adapter_bytes=200000"], 0.2),
}
PAGES = {
    "scaling": {
        "": Query(),
        "loss": Query.of(metric="bits_per_byte", view="together"),
        "linear": Query.of(axis="linear"),
    },
    "generalisation": {
        "": Query(),
        "all": Query.of(model="all", axis="linear"),
        "together": Query.of(model="together"),
        "transfer": Query.of(cost="transfer"),
    },
    "mix": {"": Query(), "full": Query.of(method="full"), "shifted": Query.of(compared="shifted")},
    "recommend": {
        "": Query(),
        "reach": Query.of(target_quality="0.4"),
        "on hand": Query.of(constraint=["examples=500"]),
        "wrong": Query.of(weight="intent=x", constraint="flops=0"),
    },
    "trials": {
        "": Query(),
        "one": Query.of(trial="20"),
        "compared": Query.of(compare="8,9,20"),
        "differences": Query.of(compare="8,20", only="differences"),
        "none": Query.of(trial="9999"),
    },
}


def section(name: str) -> Answers:
    """The answers of the section *name* as they are now."""
    return split(json.loads(json.dumps(SECTIONS[name]())))


def read() -> dict[str, Answers]:
    """The answers as they were frozen."""
    kept = json.loads(gzip.decompress(FILE.read_bytes()))
    return {name: Answers(data, kept["text"][name]) for name, data in kept["data"].items()}


def write(found: dict[str, Answers]) -> None:
    """Keep *found*; sections that are not in it stay."""
    kept = (read() if FILE.exists() else {}) | found
    text = json.dumps(
        {
            "data": {name: kept[name].data for name in SECTIONS if name in kept},
            "text": {name: kept[name].text for name in SECTIONS if name in kept},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


@functools.cache
def _demo() -> tuple[inputs.Sweep, Analysis]:
    found = inputs.demo()
    return found, answers.analysis(found)


def _demo_answers() -> Any:
    sweep, analysis = _demo()
    cases: dict[str, dict[str, Any]] = {
        f"{task} {examples}": {"task": task, "examples": examples}
        for task in sweep.objective.weights
        for examples in (100, 1600, 6400)
    }
    cases |= {
        "another size": {"task": "topic", "examples": 1600, "model_params": 300_000},
        "far": {"task": "facts", "examples": 1_000_000, "allow_far": True},
        "too far": {"task": "facts", "examples": 1_000_000},
        "amiss": {"task": "topics", "examples": 0},
    }
    return {
        "recommend": answers.recommended(sweep, DEMO, analysis),
        "candidates": answers.considered(analysis),
        "laws": answers.laws(sweep, whole=True),
        "predict": answers.predicted(sweep, cases, analysis),
    }


def _test_answers() -> Any:
    found = {}
    for sweep in (inputs.support(), inputs.law()):
        analysis = answers.analysis(sweep)
        cases: dict[str, dict[str, Any]] = {
            "near": {"task": "slots", "examples": 700},
            "ahead": {"task": "intent", "examples": 8000},
            "another size": {"task": "intent", "examples": 1000, "model_params": 500_000},
            "far": {"task": "intent", "examples": 100_000, "allow_far": True},
            "too far": {"task": "intent", "examples": 100_000},
        }
        found[sweep.name] = {
            "recommend": answers.recommended(sweep, SUPPORT, analysis),
            "candidates": answers.considered(analysis),
            "laws": answers.laws(sweep, whole=True),
            "predict": answers.predicted(sweep, cases, analysis),
        }
    return found


def _drawn() -> Any:
    found = {}
    questions = {
        "own": Question(),
        "reach": Question(target_quality=0.7),
        "small": Question((), ["parameters=2e8"]),
    }
    for number, sweep in enumerate(inputs.drawn()):
        analysis = answers.analysis(sweep)
        cases = {
            "ahead": {"task": "task", "examples": 5000},
            "another size": {"task": "task", "examples": 1000, "model_params": 10**8},
        }
        found[sweep.name] = {
            "recommend": answers.recommended(sweep, questions, analysis, whole=False),
            "candidates": answers.considered(analysis),
            "predict": answers.predicted(sweep, cases, analysis, whole=False),
            "laws": answers.laws(sweep) if number % 4 == 0 else None,
        }
    return found


def _table() -> Any:
    sweep, taken = inputs.table()
    return {"import": {**plain(taken), "keys": sketch(taken["keys"])}, **_outside(sweep)}


def _outside(sweep: inputs.Sweep) -> dict[str, Any]:
    analysis = answers.analysis(sweep)
    task = next(iter(sweep.objective.weights))
    largest = max(record.result.spec.volume for record in sweep.records)
    bounds = ["parameters=2e9", f"examples={largest // 2}"]
    questions = {"own": Question(), "bounds": Question((), bounds)}
    cases = {"ahead": {"task": task, "examples": 2 * largest}}
    return {
        "recommend": answers.recommended(sweep, questions, analysis, whole=False),
        "laws": answers.tried(lambda: answers.laws(sweep)),
        "predict": answers.predicted(sweep, cases, analysis, whole=False),
    }


def _public() -> Any:
    found = {}
    for path in inputs.public():
        taken = read_table(path)
        sweep = inputs.Sweep(path.stem, taken.records, taken.objective, taken.notes)
        answered = _outside(sweep)
        answered["laws"] = sketch(plain(answered["laws"]))
        keys = [record.result.spec.key for record in taken.records]
        one = {"notes": taken.notes, "keys": sketch(keys), **answered}
        # Of a table that is not to be handed on, its answers stand here as digests alone.
        found[path.stem] = sketch(plain(one)) if path.stem in inputs.NOT_SHIPPED else one
    return found


def _replay() -> Any:
    sweep, _ = inputs.table()
    small = [r for r in sweep.records if r.result.spec.model.name in ("pg-30k", "pg-100k")]
    return answers.replayed(sweep._replace(records=tuple(small)))


def _plan() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return answers.planned(_demo()[0].records, Path(folder))


def _support_pages() -> Any:
    return pages.pages(pages.view_of(inputs.support()), PAGES)


def _demo_pages() -> Any:
    sweep, _ = _demo()
    with tempfile.TemporaryDirectory() as folder:
        held = profile(read_sweep(write_playground(Path(folder))))
    return {
        "profile": sketch(plain(held)),
        "pages": pages.pages(pages.view_of(sweep, held), PAGES),
    }


#: What makes the answers of each section, in plain data once its sentences are taken out.
SECTIONS: dict[str, Callable[[], Any]] = {
    "demo": _demo_answers,
    "tests": _test_answers,
    "drawn": _drawn,
    "table": _table,
    "replay": _replay,
    "plan": _plan,
    "pages of the tests": _support_pages,
    "pages of the demo": _demo_pages,
    PUBLIC: _public,
}
