"""The inputs whose answers are frozen: recorded sweeps, drawn ones, and those of the tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.synthetic import synthetic_sweep
from tests.dashboards import conftest as made_up
from tests.tracker import conftest as known_law
from tracker.importing.trials import read_table
from tracker.trial import Objective, TrialRecord

RECORDED = Path(__file__).parents[1] / "recorded"
DEMO = RECORDED / "demo.jsonl.gz"
TABLE = RECORDED / "playground.csv.gz"
#: Tables that others published, where they lie beside the project.
PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "public_results"
NOT_SHIPPED = frozenset({"massive_sft_five"})
#: Seed and options of the drawn sweeps: small ones, of 48 to 150 trials.
DRAWN: tuple[tuple[int, dict[str, Any]], ...] = (
    (34, {}), (54, {}), (38, {}), (2, {}), (3, {}),
    (8, {"seeds": 1}), (20, {"seeds": 1}), (27, {"seeds": 1}), (18, {"seeds": 1}),
    (34, {"scored": False}), (39, {"scored": False, "seeds": 1}),
    (54, {"replicates": False}), (52, {"replicates": False, "seeds": 1}),
    (34, {"rates": 2, "seeds": 1}), (54, {"seeds": 3}), (38, {"rows": 100, "seeds": 1}),
    (34, {"run_noise": 0.05}), (54, {"run_noise": 0.002, "rows": 1000}),
    (34, {"glitches": 0.08}), (2, {"glitches": 0.05, "seeds": 1}),
)  # fmt: skip


class Sweep(NamedTuple):
    """A sweep as answers are drawn from it."""

    name: str
    records: tuple[TrialRecord, ...]
    objective: Objective
    notes: tuple[str, ...] = ()


def demo() -> Sweep:
    """The stock demo's trials, run for real once (``sft-select demo``)."""
    return read_records(DEMO)


def read_records(file: Path) -> Sweep:
    """The demo as :func:`record_demo` wrote it to *file*."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        head, *rest = map(json.loads, lines)
    return Sweep(
        "playground",
        tuple(TrialRecord.model_validate(line) for line in rest),
        Objective.model_validate(head["objective"]),
        tuple(head["notes"]),
    )


def table() -> tuple[Sweep, Any]:
    """A recorded table by way of ``import``, its smaller mixes left out; and what was taken of the whole."""
    found = read_table(TABLE)
    kept = [r for r in found.records if r.result.spec.mix is None or _is_plain(r)]
    taken = {
        "origin": found.origin,
        "digest": found.digest,
        "notes": found.notes,
        "trials": len(found.records),
        "keys": [r.result.spec.key for r in found.records],
    }
    return Sweep("table", tuple(kept), found.objective, found.notes), taken


def public() -> list[Path]:
    """The published tables that ``import`` takes."""
    return [path for path in sorted(PUBLIC.glob("*.csv")) if path.stem != "regmix_64"]


def drawn() -> Iterable[Sweep]:
    """Sweeps drawn from known laws."""
    for seed, options in DRAWN:
        found = synthetic_sweep(seed, **options)
        name = " ".join([str(seed), *(f"{option}={value}" for option, value in options.items())])
        yield Sweep(name, found.records, found.objective)


def law() -> Sweep:
    """The sweep of the tests of the selection."""
    records: Sequence[TrialRecord] = known_law.sweep_records()
    bounds = {"forgetting.english": 0.15}
    return Sweep(
        "law", tuple(records), Objective(weights={"intent": 2, "slots": 1}, constraints=bounds)
    )


def support() -> Sweep:
    """The sweep of the tests of the dashboard."""
    return Sweep(made_up.NAME, tuple(made_up.make_records()), made_up.OBJECTIVE)


def _is_plain(record: TrialRecord) -> bool:
    spec = record.result.spec
    return bool(spec.mix and spec.mix.name == "even" and spec.seed < 2)


def record_demo(folder: Path, file: Path = DEMO) -> None:
    """Write *file* from the demo that was run in *folder*, as if its files lay beside the reader."""
    from tracker.store.store import Store

    store = Store.open(folder / "runs", create=False)
    places = {str(folder): "demo", str(_models()): "models"}
    head = {
        "objective": store.objective("playground").model_dump(mode="json"),
        "notes": list(store.notes("playground")),
    }
    lines = [json.dumps(head)]
    lines += [record.model_dump_json() for record in store.records("playground")]
    text = "\n".join(lines) + "\n"
    for place, name in places.items():
        text = text.replace(place, name)
    file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _models() -> Path:
    from sweeps.playground.pretrain import MODELS_FOLDER

    return MODELS_FOLDER
