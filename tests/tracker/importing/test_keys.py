"""Trials of tables that were imported before stay the trials they are: a key, once written, is for good."""

import hashlib
from pathlib import Path

from tests.benchmarks.record_playground import TABLE
from tracker.importing.trials import OutsideTable, read_table

#: Everything that goes into a key: variants, epochs that vary, mixes with and without a name, replay, seeds.
MIXED = """\
model,model_params,family,method,variant,rank,learning_rate,epochs,task,metric,examples,mix,mix:a,mix:b,replay,seed,value
m,100,F,full,,,,,a,loss,0,,,,,,3.5
m,100,F,lora,,8,1e-3,,a,loss,0,,,,,,3.5
m,100,F,full,,,1e-3,2,a,loss,401,more,0.75,0.25,0.02,,1.5
m,100,F,full,,,1e-3,2,b,loss,401,more,0.75,0.25,0.02,,1.6
m,100,F,full,,,1e-3,3,a,loss,401,more,,,0,,1.45
m,100,F,full,,,1e-3,1.5,a,loss,401,more,,,0,,1.7
m,100,F,full,,,1e-3,,a,loss,400,none,,1,0.02,,2.5
m,100,F,adalora/r32,,8,1e-3,,a,accuracy,300,,0.33,0.67,0,4,0.5
m,100,F,p-tuning,v1,16,3e-2,,a,accuracy,400,even,0.5,0.5,0,,0.6
m,100,F,p-tuning,v1,16,3e-2,,a,accuracy,400,even,0.5,0.5,0.05,,0.7
m,100,F,lora,,8,1e-3,,a,accuracy,400,,,,0.05,,0.71
m,100,F,lora,,8,1e-3,,a,accuracy,400,,,,0,,0.72
m,100,F,lora,,8,1e-3,,a,accuracy,400,,,,0,,0.73
"""


def digest(table: OutsideTable) -> tuple[int, str, str]:
    """How many trials, and the digests of their keys and of all that they say, in order."""
    keys = [record.result.spec.key for record in table.records]
    contents = [record.model_dump_json() for record in table.records]
    texts = "\n".join(keys), "\n".join((*contents, *table.notes))
    return len(set(keys)), *(hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts)


def test_keys_of_the_recorded_playground() -> None:
    assert digest(read_table(TABLE)) == (796, "a1b791a47303a3d5", "0723a5b4a1fb0255")


def test_keys_of_mixes_replay_epochs_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(MIXED, encoding="utf-8")
    assert digest(read_table(path)) == (11, "34576b5bd998566f", "94ae397d6dd946e3")
