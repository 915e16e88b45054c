"""Memory and reading time of ended trials: what each record of a sweep takes in a process that reads it.

``python -m tests.benchmarks.record_memory [TRIALS [LABELS]]``: trials of four tasks with 200 replicates each,
the first of them counted by so many labels, read from the local copy as a dashboard reads them; bytes a
record, CPU seconds to read, and how long a full garbage collection then takes.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tracker.store.finished_trials import ResultsCache
from tracker.store.mlflow_names import digest_of
from tracker.task import (
    Confidence,
    FileRef,
    LabelCounts,
    PromptTemplate,
    SuiteScore,
    SuiteSpec,
    TaskScore,
    TaskSpec,
)
from tracker.trial import Cost, MethodSpec, MixSpec, ModelSpec, Status, TrialResult, TrialSpec

_TASKS = ("intent", "slots", "sentiment", "entities")
_METHODS = (
    MethodSpec(name="full", learning_rate=0.001),
    MethodSpec(name="lora", variant="rslora", rank=8, learning_rate=0.01),
    MethodSpec(name="p_tuning", variant="v1", virtual_tokens=16, learning_rate=0.03),
)
_ENVIRONMENT = {"python": "3.12.3", "torch": "2.11.0", "transformers": "5.17.0", "host": "node"}


def trial_results(count: int, labels: int = 0) -> Iterator[TrialResult]:
    """*count* results as our own sweeps make them: everything measured, every file named."""
    rng = np.random.default_rng(0)
    for number in range(count):
        yield TrialResult(
            spec=_spec(number),
            status=Status.COMPLETE,
            tasks=tuple(_score(name, rng, labels if name == _TASKS[0] else 0) for name in _TASKS),
            general=tuple(
                SuiteScore(
                    suite=name,
                    measure="bits_per_byte",
                    n=200,
                    before=2.1,
                    after=float(rng.normal(2.2, 0.1)),
                    after_se=float(rng.uniform(0.01, 0.02)),
                    forgetting_se=float(rng.uniform(0.01, 0.02)),
                )
                for name in ("english", "code")
            ),
            cost=_cost(rng),
            final_train_loss=float(rng.uniform(0.1, 2.0)),
            environment=_ENVIRONMENT,
            started_at=1.7e9 + 6.0 * number,
            ended_at=1.7e9 + 6.0 * number + 5.5,
        )


def _spec(number: int) -> TrialSpec:
    size = 10 ** (5 + number % 4)
    volume = 100 * 2 ** (number % 6)
    tasks = tuple(
        TaskSpec(
            name=name,
            train=_file(f"{name}/train"),
            validation=_file(f"{name}/validation"),
            test=_file(f"{name}/test"),
            prompt=PromptTemplate(instruction=f"What is the {name}?"),
            answer="{label}",
            score="macro_f1",
        )
        for name in _TASKS
    )
    return TrialSpec(
        model=ModelSpec(
            name=f"m-{size}", path=f"models/m-{size}", digest="d" * 64, parameters=size
        ),
        method=_METHODS[number % 3],
        mix=MixSpec(name="even", weights=dict.fromkeys(_TASKS, 1.0)),
        volume=volume,
        examples=dict.fromkeys(_TASKS, volume // 4),
        tasks=tasks,
        general=tuple(SuiteSpec(name=n, text=_file(f"general/{n}")) for n in ("english", "code")),
        seed=number,
    )


def _file(name: str) -> FileRef:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return FileRef(path=f"data/{name}.jsonl", sha256=digest, rows=4000)


def _score(task: str, rng: np.random.Generator, labels: int) -> TaskScore:
    score, *losses = (float(value) for value in rng.uniform(0.3, 0.9, 9))
    resampled = np.round(rng.normal(score, 0.02, 200), 5)
    return TaskScore(
        task=task,
        n=400,
        loss_nats=losses[0],
        loss_nats_se=losses[1],
        bits_per_byte=losses[2],
        bits_per_byte_se=losses[3],
        score_name="macro_f1",
        score=score,
        score_se=float(resampled.std()),
        exact_match=losses[4],
        precision=losses[5],
        recall=losses[6],
        valid_format=losses[7],
        labels=_counts(labels, rng) if labels else None,
        confidence=_confidence(rng),
        replicates=tuple(resampled.tolist()),
    )


def _confidence(rng: np.random.Generator) -> Confidence:
    kept = tuple(range(20, 420, 20))
    nats = np.sort(rng.exponential(1, len(kept))).round(5)
    return Confidence(due=400, nats=nats, kept=kept, right=np.round(0.9 * np.array(kept), 4))


def _counts(labels: int, rng: np.random.Generator) -> LabelCounts:
    return LabelCounts(
        names=tuple(f"a_label_of_some_length_{place}" for place in range(labels)),
        truths=tuple(3 - 2 * place // labels for place in range(labels)),
        answers=tuple(rng.integers(0, 6, labels).tolist()),
        hits=tuple(rng.integers(0, 3, labels).tolist()),
    )


def _cost(rng: np.random.Generator) -> Cost:
    seconds = [float(value) for value in rng.uniform(0.5, 5.0, 4)]
    return Cost(
        device="cpu",
        train_tokens=int(rng.integers(10_000, 100_000)),
        flops=float(rng.uniform(1e9, 1e12)),
        device_seconds=seconds[0],
        train_seconds=seconds[1],
        peak_bytes=int(rng.integers(10**8, 10**9)),
        trained_parameters=int(rng.integers(10**4, 10**6)),
        adapter_bytes=int(rng.integers(10**4, 10**6)),
        seconds_per_1k_tokens=seconds[2],
        phases={"train": seconds[1], "evaluate": seconds[3]},
    )


def _local_copy(path: Path, count: int, labels: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, result in enumerate(trial_results(count, labels)):
            text = result.model_dump_json()
            line = {"run_id": f"{number:032x}", "number": number, "stage": "grid"}
            file.write(json.dumps(line | {"digest": digest_of(text), "result": text}) + "\n")


def main(count: int = 2000, labels: int = 0) -> None:
    """Write the local copy, read it twice: once for the time, once for the memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parent.jsonl"
        _local_copy(path, count, labels)
        gc.collect()
        began = time.process_time()
        cache = ResultsCache(path, "parent")
        took = time.process_time() - began
        objects = len(gc.get_objects())
        began = time.process_time()
        gc.collect()
        collected = time.process_time() - began
        assert len(cache.records()) == count
        del cache
        gc.collect()
        tracemalloc.start()
        cache = ResultsCache(path, "parent")
        gc.collect()
        bytes_kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del cache
    print(f"{count:,} records: {bytes_kept / count / 1000:.1f} kB each, read in {took:.2f} CPU s")
    print(f"a full garbage collection: {collected * 1000:.0f} ms over {objects:,} objects")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]))
