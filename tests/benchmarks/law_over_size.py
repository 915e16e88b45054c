"""Held-out error of the law over model size, for models left out, and coverage of its band.

Every model of the recorded playground (4 sizes) is left out in turn, and every third of the 30 of FLAN and
WMT19; what is compared are the larger half of its volumes. Beside it the start that the laws over data have,
from which :func:`tracker.laws.curves.size_prior` departs.

``python -m tests.benchmarks.law_over_size``
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tests.benchmarks.curve_tables import Table, playground, published
from tracker.laws.curves import size_prior
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Prior
from tracker.laws.prior import prior


class HeldOutError(NamedTuple):
    """One volume of a model left out: predicted value and band, and the measured value."""

    value: float
    low: float
    high: float
    truth: float


def main() -> None:
    tables = [playground("score"), playground("bits_per_byte")]
    tables += [published("rectified_flan"), published("rectified_wmt19")]
    for table in tables:
        recorded = prior("score" if table.measure == "score" else "loss")
        for words, start in (("law over data", recorded), ("law over size", size_prior(recorded))):
            print(f"{table.name}, start of the {words}: {summary(list(left_out(table, start)))}")


def left_out(table: Table, start: Prior) -> Iterator[HeldOutError]:
    """Predictions from the prior *start* for each model left out."""
    curves = [placed(curve) for curve in table.curves]
    models = sorted({curve.groups["model"] for curve in curves})
    for model in models[:: 3 if len(models) > 12 else 1]:
        others = [curve for curve in curves if curve.groups["model"] != model]
        of_model = [curve for curve in curves if curve.groups["model"] == model]
        laws = fit_curves(
            others, unmeasured=list(map(unmeasured, of_model)), held_out=False, start=start
        )
        for curve, law in zip(of_model, laws.unmeasured, strict=True):
            sizes = np.unique(curve.sizes)
            sizes = sizes[sizes >= np.median(sizes)]
            prediction = law.predict(sizes, 0.8, allow_far=True)
            for size, *predicted in zip(
                sizes, prediction.value, prediction.low, prediction.high, strict=True
            ):
                most = 1.0 if table.measure == "score" else np.inf
                truth = float(curve.values[curve.sizes == size].mean())
                value, low, high = (min(float(x), most) for x in predicted)
                yield HeldOutError(value, low, high, truth)


def placed(curve: CurveRuns) -> CurveRuns:
    """*curve* with the place that it shares with other models' curves."""
    place = " ".join(curve.groups.get(kind, "") for kind in ("method", "mix", "task"))
    return curve._replace(groups={**curve.groups, "place": place})


def unmeasured(curve: CurveRuns) -> CurveRuns:
    """*curve* without its runs, as for a model that was not run."""
    none = np.zeros(0)
    shared = {k: v for k, v in curve.groups.items() if k in ("task", "method", "mix", "place")}
    return CurveRuns(none, none, (), shared, curve.parameters)


def summary(errors: list[HeldOutError]) -> str:
    """Mean and median |error|, the share within the 80 % band, and its half width."""
    value, low, high, truth = np.array(errors).T
    error = np.abs(value - truth)
    coverage = ((low <= truth) & (truth <= high)).mean()
    return (
        f"mean error {error.mean():.3f}, median {np.median(error):.3f}, band holds {coverage:.1%}, "
        f"half width {((high - low) / 2).mean():.3f}, {len(errors)} values"
    )


if __name__ == "__main__":
    main()
