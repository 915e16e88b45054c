"""CPU seconds of one joint fit: 84 curves of six sizes, 1,000 draws each, held-out fits included.

``python -m tests.benchmarks.fit_seconds``
"""

from __future__ import annotations

import time

import numpy as np

from tracker.laws.fitted_law import law
from tracker.laws.fitting import DRAWS, fit_curves
from tracker.laws.points import CurveRuns

SIZES = np.array([125, 250, 500, 1000, 2000, 4000.0])


def main() -> None:
    rng = np.random.default_rng(0)
    truth = law(np.array([[0.2, 0.6, 500.0, 0.8]]), SIZES)[0]
    curves = [
        CurveRuns(
            sizes=SIZES,
            values=truth * np.exp(0.02 * rng.standard_normal(len(SIZES))),
            keys=tuple(f"{i}/{size:g}" for size in SIZES),
            groups={"method": f"method {i % 3}", "model": f"model {i % 4}"},
            parameters=1e6 * (1 + i % 4),
        )
        for i in range(84)
    ]
    begun = time.process_time()
    fit_curves(curves)
    seconds = time.process_time() - begun
    print(f"{len(curves) * len(SIZES)} rows, {DRAWS} draws a curve: {seconds:.2f} s of one core")


if __name__ == "__main__":
    main()
