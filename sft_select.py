"""sft-select's public Python API, and the entry point of its command line.

Example::

    import sft_select

    sweep = sft_select.open("runs")["playground"]
    sweep.table  # one row per trial × task, a pandas DataFrame
    choice = sweep.recommend(constraints={"forgetting.language": 0.2})
    print(choice.choice.label, choice.p_best, choice.caveats)
    sweep.predict("topic", 3200).predictions[0].value
    sweep.figure("scaling", task="topic").show()

Importing this module does nothing but define names; pandas, MLflow and plotly are imported when asked for.
"""

from __future__ import annotations

import importlib.machinery
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from tracker.decision.analysis import Analysis
    from tracker.decision.law_report import EveryLaw
    from tracker.decision.overrides import ObjectiveOverrides
    from tracker.decision.predict import Forecast
    from tracker.decision.recommendation import Recommendation
    from tracker.metrics import Measure
    from tracker.store.store import Store

__all__ = ["FIGURES", "Figure", "Sweep", "Workspace", "__version__", "main"]

__version__ = "0.1.0"

#: Our packages, each of which says in its first line that it is ours.
PACKAGES = ("tracker", "sweeps", "dashboards")
_MARK = '"""sft-select:'
_REINSTALL = "run `pip install --force-reinstall --no-deps sft-select`"

Figure = Literal[
    "scaling",
    "generalisation",
    "tradeoff",
    "size",
    "gaps",
    "best_so_far",
    "crossover",
    "forgetting",
]
FIGURES: tuple[Figure, ...] = get_args(Figure)


def open(workspace: str | Path = "runs", *, store: str | None = None) -> Workspace:
    """The workspace at a folder, as ``sft-select run --workspace`` made it; nothing is created.

    *store*: an MLflow tracking URI, by default the workspace's own database. Raises StoreError where there
    is none, ImportError where a foreign package stands in the place of one of ours.
    """
    if problem := foreign_package():
        raise ImportError(problem)
    from tracker.store.store import Store

    return Workspace(Store.open(Path(workspace), store, create=False))


class Workspace(Mapping[str, "Sweep"]):
    """The sweeps of a tracking store by name, in the order in which they began."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getitem__(self, name: str) -> Sweep:
        """The sweep called *name*; raises KeyError, naming those there are."""
        known = list(self)
        if not known:
            raise KeyError(
                "no such sweep: this store has none yet; start one with `sft-select run`"
            )
        if name not in known:
            from tracker.validation import unknown

            raise KeyError(f"sweep: {unknown(name, known)}")
        return Sweep(self.store, name)

    def __iter__(self) -> Iterator[str]:
        return iter([info.name for info in self.store.sweeps()])

    def __len__(self) -> int:
        return len(self.store.sweeps())

    def __repr__(self) -> str:
        return f"<Workspace {self.store.workspace}: {', '.join(self) or 'no sweep yet'}>"


class Sweep:
    """One sweep as it stood when it was first asked anything; open it again to see newer trials."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def __repr__(self) -> str:
        return f"<Sweep {self.name}>"

    @cached_property
    def analysis(self) -> Analysis:
        """Everything derived from the sweep's trials, each worked out once."""
        from tracker.decision.analysis import Analysis

        store, name = self.store, self.name
        objective, notes = store.objective(name), store.notes(name)
        return Analysis(store.records(name), objective, sweep=name, notes=notes)

    @property
    def table(self) -> pd.DataFrame:
        """One row per trial × task; the columns are listed in :mod:`tracker.results`. A copy."""
        return self.analysis.table.copy()

    def recommend(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        constraints: Mapping[str, float | None] | None = None,
        target_quality: float | None = None,
    ) -> Recommendation:
        """Which configuration to take, why, how sure, and the runners-up; as ``sft-select recommend``.

        *weights* stand in place of the sweep's own, *constraints* beside its own (``None`` takes one away);
        *target_quality*: ask for the smallest and cheapest of at least this quality. Raises InputError for unknown
        names, NotEnoughDataError where nothing can be recommended.
        """
        from tracker.decision.recommend import recommendation

        asked = _asked(weights or {}, constraints or {}, target_quality)
        analysis = self.analysis.with_objective(asked.objective(self.analysis.objective))
        return recommendation(analysis, asked.target_quality)

    def predict(
        self,
        task: str,
        examples: int,
        *,
        model_params: int | None = None,
        allow_far: bool = False,
    ) -> Forecast:
        """What every configuration would measure on *task* with *examples*; as ``sft-select predict``."""
        from tracker.decision.predict import forecast

        return forecast(
            self.analysis, task, examples, model_params=model_params, allow_far=allow_far
        )

    def laws(self, metric: Measure | None = None) -> EveryLaw:
        """Every law: over data, of forgetting, of mixes, from loss to score; as ``sft-select laws``."""
        from tracker.decision.law_report import every_law

        return self.analysis.cached_for_objective(
            ("laws", metric), lambda: every_law(self.analysis, metric)
        )

    def export(self, recommendation: Recommendation, path: str | Path) -> Path:
        """Write *recommendation* as a YAML that ``sft-select train`` trains exactly; returns its path."""
        from tracker.export.config import config_of, write_config

        write_config(config_of(recommendation, self.analysis.records), Path(path))
        return Path(path)

    def figure(
        self, kind: Figure, *, theme: Literal["light", "dark"] = "light", **state: str | int
    ) -> go.Figure:
        """A chart of the dashboard's pages as a plotly figure; *state* names task, metric, mix or model.

        What is not named is what the page shows first. Raises InputError for an unknown *kind* or name,
        NotEnoughDataError where nothing was measured that it could show.
        """
        from dashboards.charts.gallery import figure

        return figure(self.analysis, kind, theme=theme, **state)


def _asked(
    weights: Mapping[str, float],
    constraints: Mapping[str, float | None],
    target_quality: float | None,
) -> ObjectiveOverrides:
    """The question, read as the command line reads it, so that a wrong value has one wording."""
    from tracker.constraints import NONE
    from tracker.decision.overrides import parse_overrides

    bounds = {name: NONE if bound is None else bound for name, bound in constraints.items()}
    return parse_overrides(
        [f"{task}={weight}" for task, weight in weights.items()],
        [f"{name}={bound}" for name, bound in bounds.items()],
        target_quality,
    )


# -- the entry point ---------------------------------------------------------------------------------


def main() -> None:
    """The command ``sft-select``; exits with 2 and one line where a foreign package hides one of ours."""
    if problem := foreign_package():
        print(problem, file=sys.stderr)
        sys.exit(2)
    from sweeps.cli import main as command_line

    command_line()


def foreign_package() -> str | None:
    """What is wrong where another distribution's package stands in the place of ours; ``None`` if nothing is.

    A package is known by what its first file says, not by where it lies: PyPI's ``sweeps`` and ``tracker``,
    installed over ours, leave the folder ours and overwrite the file. Nothing of it is run.
    """
    for package in PACKAGES:
        spec = importlib.machinery.PathFinder.find_spec(package)
        origin = spec.origin if spec else None
        if origin and Path(origin).read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            continue
        if origin is None:
            found = f"the package {package!r} without its first file, as another one leaves it"
            return f"sft-select: found {found}; allowed: sft-select's own; {_REINSTALL}"
        found = f"another Python package {package!r} at {Path(origin).parent}"
        return f"sft-select: found {found}; allowed: sft-select's own; {_remedy(package, origin)}"
    return None


def _remedy(package: str, origin: str) -> str:
    """How to get rid of the foreign *package*, whose first file is *origin*."""
    folder, ours = Path(origin).parents[1], Path(__file__).parent
    installed = folder in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if folder != ours and not installed:
        return f"take {folder} off Python's path: PYTHONPATH, or the folder you are in"
    owners = _owners(package)
    steps = [f"run `pip uninstall {' '.join(owners)}`"] if owners else []
    if folder == ours:  # and so overwrote ours
        steps.append(_REINSTALL)
    return ", then ".join(steps) or f"delete {Path(origin).parent}"


def _owners(package: str) -> list[str]:
    """The other distributions that say they hold *package*."""
    named = metadata.packages_distributions().get(package, [])
    return sorted({name for name in named if name.lower().replace("_", "-") != "sft-select"})


if __name__ == "__main__":
    main()
