from pathlib import Path

from sweeps.console import final_lines
from sweeps.finetune.final import FinalModel
from tests.benchmarks.synthetic import synthetic_sweep
from tracker.export.config import Config
from tracker.record.trial import SuiteScore
from tracker.select.cells import run_quality
from tracker.select.recommend import recommend


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
    quality = run_quality(result, shares, {})
    assert (
        f"validation quality, weighted: {quality:.4f} (predicted on average over seeds: "
        in "\n".join(lines)
    )
    assert "general    english: lost 15.0% (bits_per_byte 2.000 before, 2.300 after)" in lines
    assert "general    dutch: gained 10.0% (score 0.500 before, 0.600 after)" in lines
    assert lines[-1] == "registered as s version 1; files in model"
