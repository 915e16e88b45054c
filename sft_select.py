"""sft-select's public Python API, and the entry point of its command line.

Example::

    import sft_select

    sweep = sft_select.open("runs")["playground"]
    sweep.table  # one row per trial × task, a pandas DataFrame
    choice = sweep.recommend(constraints={"forgetting.language": 0.2})
    print(choice.choice.label, choice.p_best, choice.caveats)
    sweep.predict("topic", 3200).predictions[0].value
    sweep.figure("scaling", task="topic").show()
    sft_select.data.preview("sweep.yaml")  # rows as they are trained

A call raises :class:`tracker.errors.SftSelectError`, or one of its kinds that its docstring names.

Importing this module does nothing but define names; pandas, MLflow and plotly are imported when first used.
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

    from sweeps.data.preview import Preview
    from tracker.decision.analysis import Analysis
    from tracker.decision.law_report import EveryLaw
    from tracker.decision.predict import Forecast
    from tracker.decision.recommendation import Recommendation
    from tracker.metrics import Measure
    from tracker.store.store import Store
    from tracker.trial import Target

__all__ = ["FIGURES", "Figure", "Sweep", "Workspace", "__version__", "data", "main"]

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
    """Open the sweeps of a workspace for reading; nothing is created.

    *workspace*: the folder given to ``sft-select run --workspace``. *store*: an MLflow tracking URI
    (``sqlite:///…``, ``postgresql://…``, ``http://…``), by default the workspace's own database.

    Raises StoreError where there is no store or it cannot be read, ImportError where a foreign package
    stands in the place of one of ours.
    """
    if problem := foreign_package():
        raise ImportError(problem)
    from tracker.store.store import Store

    return Workspace(Store.open(Path(workspace), store, create=False))


class data:  # noqa: N801, a namespace, as a module of this name would be
    """Data of a sweep file, as its models are given it."""

    @staticmethod
    def preview(sweep: str | Path, *, rows: int = 1, workspace: str | Path = "runs") -> Preview:
        """Preview the first *rows* training rows of each task as each model of a sweep file is given them.

        *sweep*: the sweep file. *rows*: 1 or more. *workspace*: as of ``sft-select run``; a sweep that was
        begun there keeps what it was begun with. Returns the rows by task and model; ``pieces`` of a row are
        texts, each ``trained`` or not, ``tokens`` and ``trained_tokens`` their numbers of tokens. Its repr is
        what ``sft-select doctor`` prints.

        Raises InputError for a sweep file, models or data with a problem, ArgumentError for *rows* out of
        range, ImportError where a foreign package stands in the place of one of ours.
        """
        if problem := foreign_package():
            raise ImportError(problem)
        from sweeps.data.preview import preview_rows
        from sweeps.preflight import read_checked
        from tracker.errors import Argument, ArgumentError

        if rows < 1:
            raise ArgumentError(Argument("rows", f"found {rows}; allowed: 1 or more"))
        found = read_checked(Path(sweep), Path(workspace))
        length = found.spec.train.max_length
        return preview_rows(found.tasks.values(), found.models.values(), length, rows)


class Workspace(Mapping[str, "Sweep"]):
    """Sweeps of a tracking store by name, in the order in which they began.

    A mapping: ``workspace["support"]`` is a :class:`Sweep`, ``list(workspace)`` are the names. Made by
    :func:`open`. ``store``: the tracking store itself.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getitem__(self, name: str) -> Sweep:
        """Sweep called *name*; raises KeyError with the names that there are."""
        names = list(self)
        if name not in names:
            from tracker.store.runs import no_such_sweep

            raise KeyError(no_such_sweep(name, names))
        return Sweep(self.store, name)

    def __iter__(self) -> Iterator[str]:
        return iter([info.name for info in self.store.sweeps()])

    def __len__(self) -> int:
        return len(self.store.sweeps())

    def __repr__(self) -> str:
        return f"<Workspace {self.store.workspace}: {', '.join(self) or 'no sweep yet'}>"


class Sweep:
    """Results of one sweep, and the answers that they give.

    Its trials are read once, with the first answer; take it from the workspace again to see newer ones.
    Made by :class:`Workspace`. ``name``: the sweep's; ``store``: the tracking store that holds it.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name

    def __repr__(self) -> str:
        return f"<Sweep {self.name}>"

    @cached_property
    def analysis(self) -> Analysis:
        """Records of the sweep's trials and everything derived from them, each computed once.

        Raises StoreError where the store cannot be read.
        """
        from tracker.decision.analysis import Analysis

        return Analysis.of_sweep(self.store, self.name)

    @property
    def table(self) -> pd.DataFrame:
        """Table of results, one row per trial × task; a copy.

        :mod:`tracker.results` lists the columns: scores and shares in [0, 1], losses in nats per token and
        bits per byte, sizes in parameters, examples and bytes, times in seconds. What was not measured is
        missing, never 0; a trial that ended without scores keeps one row without a task.
        """
        return self.analysis.table.copy()

    def recommend(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        constraints: Mapping[str, float | None] | None = None,
        target_quality: Target | Literal["none"] | None = None,
    ) -> Recommendation:
        """Recommend a configuration, as ``sft-select recommend`` does.

        *weights*: how much each task counts, 0 or more, by task; in place of the sweep's. *constraints*:
        bounds by name (``forgetting.<suite>``, ``min.<task>``, ``recall.<task>``, ``over_reach.<task>``,
        ``parameters``, ``peak_bytes``; :mod:`tracker.constraints` has all, with units), added to the sweep's;
        ``None`` removes one. *target_quality*: recommend the smallest and cheapest of at least this weighted
        quality, above 0 and at most 1 for scores, for losses minus the loss; or, by task, of at least this
        score and at most this error; in place of the sweep's, which ``"none"`` removes.

        The answer holds the choice and its trial, the reasons, P(best), the expected regret, the runners-up
        with their gaps, what each constraint rejected, caveats and next experiments.

        ``target_quality.reached`` is false where nothing measured reaches the target quality: the choice
        is then the closest, and ``target_quality.needed`` what would reach it by the laws.

        Raises ArgumentError for an unknown task or constraint or a value out of range, and
        NoRecommendationError where there is no recommendation yet (``why``, and ``needed`` to get one): no
        fine-tune is complete, or, as NothingAdmittedError, no candidate keeps every constraint.
        """
        from tracker.decision.overrides import parse_overrides, target_texts
        from tracker.decision.recommend import recommend

        bounds = {name: "none" if b is None else b for name, b in (constraints or {}).items()}
        overrides = parse_overrides(
            [f"{task}={weight}" for task, weight in (weights or {}).items()],
            [f"{name}={bound}" for name, bound in bounds.items()],
            target_texts(target_quality),
        )
        objective = overrides.objective(self.analysis.objective)
        return recommend(self.analysis.with_objective(objective))

    def exclude(self, trial: int, why: str) -> None:
        """Exclude the finished *trial*, by its number, from every answer, as ``sft-select exclude`` does.

        *why*: the reason, which pages and status show. Reversible by :meth:`include`; nothing runs again.

        Raises InputError where no such trial has ended, or *why* is empty.
        """
        from tracker.store.exclusion import finished, reason

        why = reason(why)
        self.store.exclude(self.name, finished(self.store, self.name, str(trial)), why)
        self.__dict__.pop("analysis", None)

    def include(self, trial: int) -> None:
        """Count the excluded *trial* again; raises InputError where it is not excluded."""
        from tracker.store.exclusion import finished

        self.store.include(self.name, finished(self.store, self.name, str(trial)))
        self.__dict__.pop("analysis", None)

    def predict(
        self,
        task: str,
        examples: int,
        *,
        model_params: int | None = None,
        allow_far: bool = False,
    ) -> Forecast:
        """Predict what every configuration would measure on a task, as ``sft-select predict`` does.

        *task*: its name in the sweep. *examples*: training examples, at least 1. *model_params*: predict a
        base model of so many parameters, which need not have been run, instead of those measured.
        *allow_far*: predict also where *examples* is beyond 16 times the largest number measured.

        ``predictions`` has the best value first, in the unit ``measure`` (a score in [0, 1], bits per byte or
        nats per token), each with 50, 80 and 95 % intervals of what one run would measure; ``refused`` has
        the configurations without a law, each with its reason.

        Raises ArgumentError for an unknown task or a number out of range, NotEnoughDataError where no
        configuration can be predicted.
        """
        from tracker.decision.predict import predict

        return predict(
            self.analysis, task, examples, model_params=model_params, allow_far=allow_far
        )

    def laws(self, metric: Measure | None = None) -> EveryLaw:
        """Fitted laws: over data, of forgetting, of mixes, from loss to score; as ``sft-select laws``.

        *metric*: ``"score"``, ``"bits_per_byte"`` or ``"loss_nats"``; by default what decides each
        task.

        Raises ArgumentError for another metric, NotEnoughDataError where no weighted task was measured.
        """
        from tracker.decision.law_report import every_law

        return self.analysis.cached_for_objective(
            ("laws", metric), lambda: every_law(self.analysis, metric)
        )

    def export(self, recommendation: Recommendation, path: str | Path) -> Path:
        """Write a recommendation as the YAML file that ``sft-select train`` trains exactly.

        *recommendation*: of :meth:`recommend`. *path*: the file to write. Returns *path*.

        Raises InputError for trials that were imported, which we cannot train, and where the file cannot be
        written, NoRecommendationError where the target quality is not reached.
        """
        from tracker.export.config import config_of, write_config

        write_config(config_of(recommendation, self.analysis.records), Path(path))
        return Path(path)

    def figure(
        self, kind: Figure, *, theme: Literal["light", "dark"] = "light", **state: str | int
    ) -> go.Figure:
        """Chart of the dashboard's pages as a plotly figure.

        *kind*: one of :data:`FIGURES`. *theme*: the colours. *state*: what the chart shows, by name, such as
        ``task="intent"``, ``metric="score"``, ``mix="even"``, ``model="pg-30k"``, ``volume=800``,
        ``suite="english"``, ``axis="log"``; what is not named is what the page shows first.

        Raises InputError for an unknown kind, name or value, with those that the chart allows,
        NotEnoughDataError where nothing was measured that it could show.
        """
        from dashboards.charts.gallery import figure

        return figure(self.analysis, kind, theme=theme, **state)


# -- the entry point ---------------------------------------------------------------------------------


def main() -> None:
    """The command ``sft-select``; exits with 2 and one line where a foreign package hides one of ours."""
    if problem := foreign_package():
        print(problem, file=sys.stderr)
        sys.exit(2)
    from sweeps.cli import main as command_line

    command_line()


def foreign_package() -> str | None:
    """Message about another distribution's package in the place of ours; ``None`` where there is none.

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
