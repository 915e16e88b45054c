"""What a user gets wrong in a sweep file, and the one line they should read for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeps.sweep_file import load_sweep
from tracker.errors import InputError

LINES = {
    "name": "name: s",
    "models": "models: [{path: m}]",
    "methods": "methods: {full: {learning_rate: {low: 1e-4, high: 1e-2, log: true}}}",
    "tasks": "tasks: {intent: {train: a.jsonl}, held: {validation: b.jsonl}}",
    "volumes": "volumes: [10, 20]",
    "mixes": "mixes: {even: {intent: 1}}",
    "objective": "objective: {weights: {intent: 1}}",
}
BAD_SWEEPS = {
    "misspelt key": (
        "volmes",
        "volmes: [1]",
        "unknown key; allowed: name, .*; did you mean 'volumes'",
    ),
    "misspelt nested key": (
        "methods",
        "methods: {lora: {rnk: 8, learning_rate: 1e-3}}",
        r"methods\.lora\.rnk: unknown key; allowed: learning_rate, rank, variant, .*; did you mean 'rank'",
    ),
    "duplicate key": ("tasks", "tasks: {a: {train: x}, a: {train: y}}", "duplicate key 'a'"),
    "wrong type": ("seeds", "seeds: two", "seeds: found 'two'; allowed: a whole number"),
    "boolean as number": ("seeds", "seeds: true", "seeds: found true; allowed: a whole number"),
    "missing key": (
        "methods",
        "methods: {full: {}}",
        r"methods\.full\.learning_rate: found nothing; this key is required",
    ),
    "low above high": (
        "methods",
        "methods: {full: {learning_rate: {low: 1, high: 0.1}}}",
        r"methods\.full\.learning_rate: found low 1, high 0\.1; allowed: low < high",
    ),
    "log of zero": (
        "methods",
        "methods: {full: {learning_rate: {low: 0, high: 1, log: true}}}",
        "found low 0 with log: true; allowed: low > 0",
    ),
    "NaN bound": (
        "methods",
        "methods: {full: {learning_rate: {low: .nan, high: 1}}}",
        "found nan; allowed: a finite number",
    ),
    "no choices": (
        "methods",
        "methods: {lora: {rank: [], learning_rate: 1}}",
        "found no choices; allowed: one value or a list",
    ),
    "unknown variant": (
        "methods",
        "methods: {lora: {variant: rslra, learning_rate: 1}}",
        "found 'rslra'; allowed: plain, rslora, dora, .*; did you mean 'rslora'",
    ),
    "no method": ("methods", "methods: {}", "found no method; allowed: full, lora, p_tuning"),
    "volumes out of order": ("volumes", "volumes: [20, 10]", "found 20, 10; allowed: ascending"),
    "rate below zero": (
        "methods",
        "methods: {full: {learning_rate: {low: -0.01, high: 0.01}}}",
        r"methods\.full\.learning_rate: found low -0\.01; allowed: low > 0",
    ),
    "sweep named like a part of the workspace": (
        "name",
        "name: mlflow.db",
        r"name: found 'mlflow\.db', which a workspace holds itself; allowed: another name",
    ),
    "task named like a setting of mixes": (
        "tasks",
        "tasks: {intent: {train: a.jsonl}, held: {validation: b.jsonl}, replay: {train: c.jsonl}}",
        r"tasks\.replay: found a task 'replay', which is a setting of mixes; give it another name",
    ),
    "volumes of a mix out of order": (
        "mixes",
        "mixes: {even: {intent: 1, volumes: [20, 10]}}",
        r"mixes\.even\.volumes: found 20, 10; allowed: ascending",
    ),
    "no volumes of a mix": (
        "mixes",
        "mixes: {even: {intent: 1, volumes: []}}",
        r"mixes\.even\.volumes: found a list of 0; allowed: at least 1",
    ),
    "volume of zero": (
        "volumes",
        "volumes: [0, 10]",
        r"volumes\[0\]: found 0; allowed: at least 1",
    ),
    "unknown task in a mix": (
        "mixes",
        "mixes: {even: {intnt: 1}}",
        r"mixes\.even\.intnt: found 'intnt'; allowed: intent, held, .*; did you mean 'intent'",
    ),
    "mix of an untrained task": (
        "mixes",
        "mixes: {even: {intent: 1, held: 1}}",
        r"mixes\.even\.held: found task 'held' without a train file",
    ),
    "replay without a file": (
        "mixes",
        "mixes: {even: {intent: 1, replay: 0.1}}",
        r"mixes\.even\.replay: found 0\.1 without a replay file",
    ),
    "unknown objective task": (
        "objective",
        "objective: {weights: {intents: 1}}",
        "found 'intents'; allowed: intent, held; did you mean 'intent'",
    ),
    "objective nothing trains": (
        "objective",
        "objective: {weights: {held: 1}}",
        "found 'held', which no mix trains; allowed: intent",
    ),
    "unknown constraint": (
        "objective",
        "objective: {weights: {intent: 1}, constraints: {peek_bytes: 1}}",
        r"found 'peek_bytes'; allowed: .*peak_bytes.*; did you mean 'peak_bytes'",
    ),
    "metric nothing produces": (
        "objective",
        "objective: {weights: {intent: 1}, constraints: {over_reach.intent: 0.1}}",
        r"which no task produces; give tasks\.intent\.negative",
    ),
    "precision of an unknown task": (
        "objective",
        "objective: {weights: {intent: 1}, constraints: {precision.intend: 0.5}}",
        r"found 'precision\.intend'; allowed: .*; did you mean 'precision\.intent'",
    ),
    "recall in per cent": (
        "objective",
        "objective: {weights: {intent: 1}, constraints: {recall.intent.天气: 80}}",
        r"objective\.constraints\.recall\.intent\.天气: found 80; allowed: 0 to 1",
    ),
    "target beyond the scale": (
        "objective",
        "objective: {weights: {intent: 1}, target: 80}",
        r"objective\.target: found 80; allowed: above 0 and at most 1",
    ),
    "target of an unknown task": (
        "objective",
        "objective: {weights: {intent: 1}, target: {intend: 0.8}}",
        r"objective\.target\.intend: found 'intend'; allowed: .*; did you mean 'intent'",
    ),
    "target that is neither": (
        "objective",
        "objective: {weights: {intent: 1}, target: high}",
        r"objective\.target: found 'high'; allowed: ",
    ),
    "warm-up longer than training": (
        "train",
        "train: {warmup: 100}",
        r"train\.warmup: found 100, a warm-up longer than training; allowed: .* below 1",
    ),
    "tuning volume not listed": (
        "search",
        "search: {tuning: {volume: 15}}",
        r"search\.tuning\.volume: found 15; allowed: 10, 20",
    ),
    "unknown tuning mix": (
        "search",
        "search: {tuning: {mix: evn}}",
        "found 'evn'; allowed: even; did you mean 'even'",
    ),
    "two budgets": (
        "budget",
        "budget: {trials: 1, gpu_hours: 1}",
        "allowed: one of trials, gpu_hours",
    ),
    "no workers": ("engine", "engine: {workers: 0}", r"found 0; allowed: at least 1 or auto"),
    "same name twice": (
        "models",
        "models: [{path: a/m}, {path: b/m}]",
        r"models\[0\]: found the name 'm' 2 times",
    ),
    "broken pattern": (
        "tasks",
        "tasks: {intent: {train: a.jsonl, pattern: '['}}",
        r"tasks\.intent\.pattern: found '\['; allowed: a regular expression",
    ),
    "prompt without answer": (
        "tasks",
        "tasks: {intent: {train: a.jsonl, prompt: {input: '{text}'}}}",
        r"tasks\.intent: found one of prompt and answer",
    ),
    "alias": ("tasks", "tasks: &all {intent: {train: a.jsonl}}", "anchor &all"),
}


def test_tuning_at_a_volume_that_its_mix_is_not_run_at(tmp_path: Path) -> None:
    lines = LINES | {
        "mixes": "mixes: {even: {intent: 1, volumes: [20]}, all: {intent: 1}}",
        "search": "search: {tuning: {volume: 10}}",
    }
    (problem,) = sweep_problems(tmp_path, lines)
    assert "search.tuning.volume: found 10; allowed: 20, the volumes of mix 'even'" in problem
    good = tmp_path / "good.yaml"
    good.write_text("\n".join([*(LINES | lines).values()]).replace("10}}", "10, mix: all}}"))
    load_sweep(good)


@pytest.mark.parametrize("name", ["replay", "volumes", "extra_epochs"])
def test_a_task_named_like_a_setting_of_mixes_where_no_mix_is_given(
    tmp_path: Path, name: str
) -> None:
    lines = {key: line for key, line in LINES.items() if key not in ("mixes", "objective")}
    (problem,) = sweep_problems(
        tmp_path, lines | {"tasks": f"tasks: {{{name}: {{train: a.jsonl}}}}"}
    )
    assert f"tasks.{name}: found a task {name!r}, which is a setting of mixes" in problem


def sweep_problems(tmp_path: Path, lines: dict[str, str]) -> list[str]:
    path = tmp_path / "sweep.yaml"
    path.write_text("\n".join(lines.values()) + "\n")
    with pytest.raises(InputError) as caught:
        load_sweep(path)
    return [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


@pytest.mark.parametrize("case", BAD_SWEEPS)
def test_bad_sweep_file(tmp_path: Path, case: str) -> None:
    key, bad, wording = BAD_SWEEPS[case]
    lines = LINES | {key: bad}
    problems = sweep_problems(tmp_path, lines)
    line = list(lines).index(key) + 1
    assert any(re.search(rf"^sweep\.yaml:{line}: .*{wording}", p) for p in problems), problems
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.yaml"]


def test_the_base_of_these_cases_is_good(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("\n".join(LINES.values()))
    load_sweep(path)


def test_all_problems_are_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """Also cross-field ones beside misspelt keys and wrong types; no problem that only follows."""
    problems = sweep_problems(
        tmp_path,
        LINES
        | {
            "models": "models: [{pth: m}]",
            "volumes": "volumes: [10, many]",
            "mixes": "mixes: {even: {intent: 1}, odd: {intnt: 1}}",
            "objective": "objective: {weights: {intent: -1, other: 1}}",
            "train": "train: {warmup: 3, epochs: x}",
        },
    )
    places = [problem.split(": ")[:2] for problem in problems]
    assert places == [
        ["sweep.yaml:2", "models[0].pth"],
        ["sweep.yaml:5", "volumes[1]"],
        ["sweep.yaml:6", "mixes.odd.intnt"],
        ["sweep.yaml:7", "objective.weights.intent"],
        ["sweep.yaml:7", "objective.weights.other"],
        ["sweep.yaml:8", "train.epochs"],
        ["sweep.yaml:8", "train.warmup"],
    ]


def test_a_broken_task_is_not_unknown_to_its_mixes_as_well(tmp_path: Path) -> None:
    problems = sweep_problems(tmp_path, LINES | {"tasks": "tasks: {intent: {}, other: {train: x}}"})
    assert [problem.split(":")[1] for problem in problems] == ["4"]
    assert "tasks.intent: found no file; allowed: train, or validation" in problems[0]


def test_enormous_designs_need_confirmation(tmp_path: Path) -> None:
    huge = LINES | {
        "methods": f"methods: {{lora: {{rank: {list(range(1, 102))}, learning_rate: 1}}}}",
        "volumes": f"volumes: {list(range(1, 101))}",
    }
    (problem,) = sweep_problems(tmp_path, huge)
    assert (
        "found 10,100 design points (1 models × 101 method settings × 100 volumes × 1 mixes)"
        in problem
    )
    assert "search.confirm_large: true" in problem
    path = tmp_path / "sweep.yaml"
    path.write_text("\n".join([*huge.values(), "search: {confirm_large: true}"]))
    load_sweep(path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (problem,) = sweep_problems(tmp_path, {"": "- a list"})
    assert problem.startswith(
        "sweep.yaml:1: found a list of 1; allowed: a mapping with name, models, "
    )


def test_a_task_that_is_minimized_is_bounded_from_above(tmp_path: Path) -> None:
    (tmp_path / "scores.py").write_text("def wer(answer, row):\n    return 0.0\n")
    tasks = (
        "tasks: {intent: {train: a.jsonl}, spoken: {train: a.jsonl, score: ./scores.py:wer, "
        "range: [0, null], direction: minimize}}\nallow_code: true"
    )

    def problems(objective: str) -> str:
        changed = LINES | {"tasks": tasks, "objective": f"objective: {objective}"}
        path = tmp_path / "sweep.yaml"
        path.write_text("\n".join(changed.values()))
        try:
            load_sweep(path)
        except InputError as error:
            return str(error)
        return ""

    for objective, problem in (
        ("constraints: {max.spoken: 3.5}", ""),
        ("constraints: {min.spoken: 0.5}", "better the lower; allowed: max.spoken"),
        ("constraints: {max.intent: 0.5}", "a score; allowed: min.intent"),
        ("constraints: {max.spoken: -1}", "found -1; allowed: 0 or more"),
        ("target: {spoken: 3.5}", ""),
        ("target: {spoken: -1}", "allowed: 0 or more, the most that the error may be"),
    ):
        found = problems(f"{{weights: {{intent: 1}}, {objective}}}")
        assert problem in found
        assert bool(found) == bool(problem), found
