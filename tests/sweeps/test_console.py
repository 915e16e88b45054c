import time
from pathlib import Path

from sweeps.console import final_lines, status_lines
from sweeps.finetune.final import FinalModel
from tests.benchmarks.synthetic import synthetic_sweep
from tracker.decision.recommend import recommend
from tracker.export.config import Config
from tracker.metrics import weighted_quality
from tracker.store.runs import SweepInfo
from tracker.trial import SuiteScore


def test_a_final_training_tells_the_number_it_was_chosen_by_and_what_was_lost():
    drawn = synthetic_sweep(0)
    answer = recommend(drawn.records, drawn.objective)
    config = Config(sweep="s", trial=answer.trial, recommendation=answer)
    result = next(r.result for r in drawn.records if r.result.spec.key == answer.trial.key)
    english = SuiteScore(suite="english", measure="bits_per_byte", before=2.0, after=2.3)
    dutch = SuiteScore(suite="dutch", measure="score", before=0.5, after=0.6)
    result = result.model_copy(update={"general": (english, dutch)})
    lines = final_lines(FinalModel(result, Path("model"), "s", "1"), config)
    total = sum(drawn.objective.weights.values())
    shares = {task: weight / total for task, weight in drawn.objective.weights.items()}
    quality = weighted_quality(result, shares, {})
    assert (
        f"validation quality, weighted: {quality:.4f} (predicted on average over seeds: "
        in "\n".join(lines)
    )
    assert "general    english: lost 15.0% (bits_per_byte 2.000 before, 2.300 after)" in lines
    assert "general    dutch: gained 10.0% (score 0.500 before, 0.600 after)" in lines
    assert lines[-1] == "registered as s version 1; files in model"


def test_a_live_sweep_whose_driver_is_silent_is_said_to_be():
    now = 1_700_000_000.0

    def said(state: str, **facts: str) -> str:
        info = SweepInfo("s", state, 9, now - 3600, None, {"complete": 2}, facts)
        return "\n".join(status_lines(info, [], now))

    silent = "no word from its driver since "
    for state in ("running", "paused"):
        assert silent not in said(state, seen_at=str(now - 119))
        since = time.strftime("%H:%M", time.localtime(now - 121))
        assert silent + since in said(state, seen_at=str(round(now - 121)))
        assert silent not in said(state), "a sweep of before drivers said so"
    for state in ("finished", "stopped", "interrupted"):
        assert silent not in said(state, seen_at="0")
    assert f"{silent}1970-01-0" in said("running", seen_at="86400")
