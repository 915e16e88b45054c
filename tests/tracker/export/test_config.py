from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.decision.recommendation import Recommendation
from tracker.errors import InputError, StoreError
from tracker.export import recipe_for
from tracker.export.config import (
    Config,
    _plain,
    config_of,
    evidence_beside,
    read_config,
    write_config,
)
from tracker.files import yaml_text
from tracker.strict_yaml import load
from tracker.task import FileRef, PromptTemplate, TaskSpec
from tracker.trial import EvaluationSpec, MethodSpec, MixSpec, ModelSpec, TrialRecord, TrialSpec

RECORDED = Path(__file__).parents[2] / "recorded" / "config-0.1.yaml"

NUMBERS = ["12e4", "1e5", "0o17", "0x1f", "1_000", ".5", "1:30", "2024-01-01", "no", "~", "null"]
MARKS = ["=", "<<", "# no", "a: b", "- a", "{x}", "\u2028", "\x85", "\ufeff", " a ", "\U0001f600"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from([*NUMBERS, *MARKS]),
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    files = st.builds(FileRef, path=TEXTS, sha256=TEXTS, rows=st.integers())
    tasks = st.builds(
        TaskSpec,
        name=TEXTS,
        train=st.none() | files,
        validation=files,
        prompt=st.none()
        | st.builds(PromptTemplate, system=st.none() | TEXTS, input=TEXTS.filter(bool)),
        answer=st.none() | TEXTS,
        pattern=st.none() | TEXTS,
    )
    trial = TrialSpec(
        model=ModelSpec(name=draw(TEXTS), path=draw(TEXTS), digest=draw(TEXTS), parameters=1),
        method=MethodSpec(name="lora", learning_rate=draw(st.none() | FLOATS)),
        mix=draw(
            st.none()
            | st.builds(MixSpec, name=TEXTS, weights=st.dictionaries(TEXTS, FLOATS, max_size=3))
        ),
        examples=draw(st.dictionaries(TEXTS, st.integers(), max_size=3)),
        tasks=tuple(draw(st.lists(tasks, max_size=2))),
        evaluation=EvaluationSpec(rows=draw(st.none() | st.integers(1))),
    )
    versions = draw(st.dictionaries(TEXTS, TEXTS, max_size=3))
    return Config(sweep=draw(TEXTS), trial=trial, versions=versions)


@settings(deadline=None, max_examples=60)
@given(config=configs())
def test_any_configuration_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    write_config(config, path)
    read = read_config(path)
    assert read == config
    assert read.trial.key == config.trial.key


def test_a_recommendation_is_read_back_exactly(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    config = config_of(answer, records)
    path = tmp_path / "recommended.yaml"
    write_config(config, path)
    assert read_config(path) == config
    assert answer.runners_up, "a recommendation without runners-up would prove less"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "recommended.evidence.yaml",
        "recommended.yaml",
    ]


def test_the_evidence_is_the_trials_own(answer: Recommendation, records: list[TrialRecord]) -> None:
    config = config_of(answer, records)
    (result,) = (r.result for r in records if r.result.spec.key == answer.trial.key)
    assert [(s.task, s.score, s.score_se, s.loss_nats, s.n) for s in config.scores] == [
        (s.task, s.score, s.score_se, s.loss_nats, s.n) for s in result.tasks
    ]
    assert config.versions == result.environment


def test_only_the_last_block_of_the_evidence_depends_on_the_clock(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    slower = answer.model_dump(mode="json")
    candidates = [slower["choice"], *(one["candidate"] for one in slower["runners_up"])]
    for candidate in candidates:
        candidate["measured"]["device_seconds"] = 99.5
    configs, evidence = [], []
    for folder, found in (("a", answer), ("b", Recommendation.model_validate(slower))):
        path = tmp_path / folder / "c.yaml"
        write_config(config_of(found, records), path)
        configs.append(path.read_text())
        evidence.append(path.with_name("c.evidence.yaml").read_text().split("\nmeasured:\n"))
    assert configs[0] == configs[1]
    (head, tail), (other_head, other_tail) = evidence
    assert head == other_head
    assert tail != other_tail
    assert "99.5" in other_tail


def test_what_trains_is_short_and_trains_without_its_evidence(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    config = config_of(answer, records)
    write_config(config, path)
    assert len(path.read_text().splitlines()) <= 80
    assert evidence_beside(path) == {
        "c.evidence.yaml": path.with_name("c.evidence.yaml").read_text()
    }
    path.with_name("c.evidence.yaml").unlink()
    assert read_config(path) == config.model_copy(update={"recommendation": None})
    assert evidence_beside(path) == {}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("c.yaml", "seed: 0", "seed: 7"),
        ("c.yaml", "learning_rate: ", "learning_rate: 1"),
        ("c.evidence.yaml", "p_best: ", "p_best: 1"),
        ("c.evidence.yaml", "digest: ", "digest: a"),
    ],
)
def test_evidence_of_another_trial_is_refused(
    answer: Recommendation,
    records: list[TrialRecord],
    tmp_path: Path,
    file: str,
    old: str,
    new: str,
) -> None:
    path = tmp_path / "c.yaml"
    write_config(config_of(answer, records), path)
    changed = tmp_path / file
    assert old in changed.read_text()
    changed.write_text(changed.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"c\.yaml:\d+: evidence: .*changed since .*take the line"):
        read_config(path)
    kept = [line for line in path.read_text().splitlines() if not line.startswith("evidence:")]
    path.write_text("\n".join(kept))
    assert read_config(path).recommendation is None, "and it trains as it stands"


def test_evidence_is_read_from_its_own_folder_alone(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    write_config(config_of(answer, records), path)
    path.write_text(path.read_text().replace("file: c.evidence.yaml", "file: ../c.evidence.yaml"))
    with pytest.raises(InputError, match="evidence: found no file name"):
        read_config(path)


def test_a_file_of_format_1_is_read_in_todays_names(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    """Format 1 held all in one file, under other names."""
    config = config_of(answer, records)
    text = yaml_text(in_format_1(config))
    path = tmp_path / "old.yaml"
    path.write_text(text)
    assert read_config(path) == config
    path.write_text(text.replace("separable:", "separate:"))
    with pytest.raises(InputError, match="separate: unknown key"):
        read_config(path)


def test_the_file_of_the_first_release_is_read_whole() -> None:
    """What 0.1.0 wrote of the demo: the trial keeps its key, and the evidence has today's names."""
    config = read_config(RECORDED)
    assert config.trial.key == "6dea32dd730bf896"
    found = config.recommendation
    assert found is not None
    assert [kept.constraint for kept in found.satisfied] == ["forgetting.language"]
    assert found.next_experiments[0].regret_removed == 0.000866552
    assert found.next_experiments[0].p_change == 0.130127
    assert found.next_experiments[0].p_distinguishes == 0.249268
    assert [runner.distinguishable for runner in found.runners_up] == [False, True, True]
    assert found.choice.measured.device == "cpu"
    assert "learning_rate: 0.005477" in recipe_for(config, "trl").files["trl.yaml"]


def in_format_1(config: Config) -> dict[str, Any]:
    """*config* as the first release wrote it."""
    data = _plain(config)
    found = data["recommendation"]
    del found["trial"]
    for new, old in [
        ("satisfied", "held"),
        ("target_quality", "reach"),
        ("next_experiments", "further_trials"),
        ("distinguishable", "separable"),
    ]:
        if new in found:
            found[old] = found.pop(new)
    for experiment in found["further_trials"]:
        for new, old in [
            ("regret_removed", "removes"),
            ("p_change", "changes"),
            ("p_distinguishes", "separates"),
        ]:
            if new in experiment:
                experiment[old] = experiment.pop(new)
    for runner in found["runners_up"]:
        runner["separable"] = runner.pop("distinguishable")
    candidates = [found["choice"], *(r["candidate"] for r in found["runners_up"])]
    candidates += found["further_trials"]
    data["measured"] = {one["label"]: one.pop("measured") for one in candidates}
    return data | {"format": 1}


def test_the_file_says_how_to_train_it(make_config: Callable[..., Config], tmp_path: Path) -> None:
    write_config(make_config(), tmp_path / "best.yaml")
    head = (tmp_path / "best.yaml").read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "sft-select train best.yaml" in head


def test_a_name_with_line_breaks_stays_in_its_comment(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config().model_copy(update={"sweep": "a\nformat: 9\n\u2028trial: b"})
    write_config(config, tmp_path / "c.yaml")
    assert read_config(tmp_path / "c.yaml") == config


def test_every_problem_has_its_line(make_config: Callable[..., Config], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    write_config(make_config(), path)
    text = path.read_text()
    text = text.replace("name: lora", "name: lorra").replace("volume: 8", "volume: many")
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_config(path)
    lines = text.splitlines()
    numbers = [
        1 + next(i for i, line in enumerate(lines) if bad in line) for bad in ("lorra", "many")
    ]
    assert [int(problem.split(":")[1]) for problem in raised.value.problems] == sorted(numbers)


def test_a_newer_format_is_refused(make_config: Callable[..., Config], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    write_config(make_config(), path)
    path.write_text(path.read_text().replace("format: 2", "format: 3"))
    with pytest.raises(InputError, match=r"c\.yaml:\d+: format: found 3; allowed: 1, 2"):
        read_config(path)


def test_a_measured_block_taken_out_is_said(
    answer: Recommendation, records: list[TrialRecord], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    write_config(config_of(answer, records), path)
    evidence = path.with_name("c.evidence.yaml")
    evidence.write_text(evidence.read_text().split("\nmeasured:\n")[0])
    with pytest.raises(InputError, match=r"recommendation\.choice\.measured: found nothing"):
        read_config(path)


def test_the_recommendation_must_be_of_the_trial(
    answer: Recommendation, make_spec: Callable[..., TrialSpec]
) -> None:
    with pytest.raises(ValueError, match="of another trial"):
        Config(sweep="support", trial=make_spec(seed=9), recommendation=answer)


def test_a_recommended_trial_without_a_result_is_said(answer: Recommendation) -> None:
    with pytest.raises(StoreError, match=f"no result of the recommended trial {answer.trial.key}"):
        config_of(answer, [])


def test_a_folder_that_cannot_be_written_is_said(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_config(make_config(), tmp_path / "file" / "c.yaml")


def test_writing_again_replaces_the_file_whole(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("x" * 100_000)
    write_config(make_config(), path)
    assert load(path.read_text(), "c").data["sweep"] == "support"
    assert path.stat().st_mode & 0o777 == 0o644
