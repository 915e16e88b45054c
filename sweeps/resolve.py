"""Resolved sweep: every model and data file of a sweep file found, read, checked and digested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sweeps.base_models import max_positions, model_spec
from sweeps.data.checks import (
    Leak,
    Lengths,
    Splits,
    answer_problems,
    control_token_warnings,
    control_tokens,
    definition_warnings,
    label_bound_problems,
    label_problems,
    leaks,
    negative_problem,
    repetition_warnings,
    row_warnings,
    shared_texts,
    undefined_labels,
    weight_problems,
)
from sweeps.data.examples import (
    EVALUATION_SEED,
    Example,
    LocatedExample,
    digest,
    file_ref,
    is_part,
    nested_order,
    part_path,
    read_task_file,
    read_texts,
)
from sweeps.scores.json_answers import load_schema
from sweeps.scores.text import found_separators
from sweeps.spec import SweepSpec
from sweeps.sweep_file import load_sweep
from sweeps.task_entry import TaskEntry, TaskFields, new_settings
from tracker.errors import InputError
from tracker.files import absolute
from tracker.numbers import count, percent, plural
from tracker.strict_yaml import Document, YamlPath, read
from tracker.task import FileRef, LabelDefinition, ScoreFunction, SourceFile, SuiteSpec, TaskSpec
from tracker.trial import DType, ModelSpec
from tracker.validation import dotted

Value = TypeVar("Value")

#: Share of rows cut short above which there is a warning.
MIN_CUT_SHARE = 0.02

FIX = "sft-select doctor FILE --fix-data FOLDER"

#: Lines of rows that are left out, in one warning.
_LINES_SHOWN = 10
_UNREAD = FileRef(path="", sha256="", rows=0)


@dataclass(frozen=True, slots=True)
class ResolvedSweep:
    """A sweep with its models and files. ``warnings``: allowed, but probably a mistake, one line each.

    ``full_rate``: whether every training reaches its learning rate, however few steps it has. Warm-up took
    all of the shortest ones in sweeps of before that was known, which keep their trials.
    """

    spec: SweepSpec
    models: dict[str, ModelSpec]
    tasks: dict[str, TaskSpec]
    general: dict[str, SuiteSpec]
    replay: FileRef | None
    warnings: tuple[str, ...] = ()
    full_rate: bool = False

    @property
    def every_task(self) -> list[TaskSpec]:
        """The tasks, and those of the general suites."""
        held_out = [suite.task for suite in self.general.values() if suite.task]
        return [*self.tasks.values(), *held_out]


#: Settled fields (:data:`sweeps.task_entry.SETTLED_FIELDS`) and their values, by task.
TaskSettings = Mapping[str, Mapping[str, Any]]


def read_sweep(
    path: Path,
    begun: Callable[[SweepSpec], bool] = lambda _: False,
    settled: Callable[[SweepSpec], TaskSettings] = lambda _: {},
    begun_file: Callable[[SweepSpec], Mapping[str, Any] | None] = lambda _: None,
) -> ResolvedSweep:
    """The sweep file at *path*, validated and resolved; every problem names its line.

    *begun*: whether the sweep was begun already. It goes on then: what only later releases refuse is a
    warning. *settled*: settings of the tasks that it began with; another task has those of a new sweep.
    *begun_file*: the file that it began with, whose types it keeps where the present one leaves them open.
    Raises ``InputError``.
    """
    document = read(path)
    spec = load_sweep(document)
    spec = with_types(spec, begun_file(spec))
    return _resolve(spec, path.parent, document, begun=begun(spec), settled=settled(spec))


def resolve(spec: SweepSpec, base: Path) -> ResolvedSweep:
    """*spec* with its files; relative paths start from *base*.

    Raises ``InputError`` with every problem. Problems of the sweep file come without lines:
    :func:`read_sweep` has them.
    """
    return _resolve(with_types(spec), base, None)


def with_types(spec: SweepSpec, begun: Mapping[str, Any] | None = None) -> SweepSpec:
    """*spec* with its ``auto`` types decided: as its sweep *begun*, else by what this machine has."""
    wanted = {entry.label: entry.base or spec.base or "auto" for entry in spec.models}
    gpu = _gpu_computes_bfloat16()
    dtype = spec.train.dtype
    if dtype == "auto":
        here: DType = "bfloat16" if gpu or "bfloat16" in wanted.values() else "float32"
        begun_with: DType | None = (begun or {}).get("train", {}).get("dtype")
        dtype = begun_with or here
    before = {
        m["name"] or Path(m["path"]).name: m.get("base") for m in (begun or {}).get("models", ())
    }
    entries = []
    for entry in spec.models:
        base: str | None = wanted[entry.label]
        if base == "auto":
            base = before.get(entry.label, "bfloat16" if gpu and dtype == "bfloat16" else None)
        base = None if base == "float32" else base
        entries.append(entry.model_copy(update={"base": base}))
    train = spec.train.model_copy(update={"dtype": dtype})
    return spec.model_copy(update={"models": tuple(entries), "train": train, "base": None})


def _gpu_computes_bfloat16() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


class Report:
    """Problems and warnings; those of the sweep file carry its line where it is known.

    ``begun``: whether the sweep was, perhaps by a release that refused less. ``settled``: settings of the
    tasks that it began with.
    """

    def __init__(
        self, document: Document | None, *, begun: bool, settled: TaskSettings | None = None
    ) -> None:
        self._document = document
        self.begun = begun
        self.settled = settled or {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def at(self, path: YamlPath, wording: str) -> None:
        """Note a problem of the sweep file's value at *path*."""
        document = self._document
        place = f"{document.source}:{document.line(path)}: " if document else ""
        self.problems.append(f"{place}{dotted(path)}: {wording}")

    def attempt(self, find: Callable[[], Value], path: YamlPath | None = None) -> Value | None:
        """What *find* returns, or ``None`` and its problems, placed at *path* if that is given."""
        try:
            return find()
        except InputError as error:
            for problem in error.problems:
                if path is None:
                    self.problems.append(problem)
                else:
                    self.at(path, problem)
            return None


def _resolve(
    spec: SweepSpec,
    base: Path,
    document: Document | None,
    *,
    begun: bool = False,
    settled: TaskSettings | None = None,
) -> ResolvedSweep:
    report = Report(document, begun=begun, settled=settled)
    models = {}
    for index, entry in enumerate(spec.models):
        model = report.attempt(lambda e=entry: _loadable(model_spec(e, base)), ("models", index))  # type: ignore[misc]
        if model is not None:
            models[model.name] = model
            _check_positions(model, spec, report)
    tasks = {}
    for name, task_entry in spec.tasks.items():
        task = _task(name, task_entry, spec, base, report, models.values())
        if task is not None:
            tasks[name] = task
    general = {}
    for name in spec.general:
        suite = _suite(name, spec, base, report, models.values())
        if suite is not None:
            general[name] = suite
    replay = _replay(spec, base, report, general)
    _check_volumes(spec, tasks, report)
    if report.problems:
        raise InputError(dict.fromkeys(report.problems))
    warnings = tuple(dict.fromkeys(report.warnings))
    return ResolvedSweep(spec, models, tasks, general, replay, warnings)


def _loadable(model: ModelSpec) -> ModelSpec:
    """*model*, whose tokenizer loads; raises InputError where it does not."""
    from sweeps.data.prompts import load_tokenizer

    load_tokenizer(model)
    return model


def _task(
    name: str,
    entry: TaskFields,
    spec: SweepSpec,
    base: Path,
    report: Report,
    models: Iterable[ModelSpec],
) -> TaskSpec | None:
    """The task with its files read and checked; ``None`` if they cannot be read."""
    where: YamlPath = ("tasks" if name in spec.tasks else "general", name)
    task = unread_task(name, entry, report.settled.get(name))
    splits: dict[str, tuple[str, Sequence[LocatedExample]]] = {}
    differs = False
    for split, path in split_paths(entry, base).items():
        read = report.attempt(lambda p=path: read_task_file(task, p))  # type: ignore[misc]
        if read and read.examples:
            splits[split] = (path, read.examples)
            report.warnings += read.notes
            differs |= read.differs
        elif read is not None:  # of one file in two parts; a file without rows is not read
            report.at((*where, "train"), _no_rows(split))
    out = _left_out(splits, spec, models, report) if spec.drop_unfit else {}
    for split in list(splits):
        if split in out and not splits[split][1]:
            report.at((*where, split), "found no row that fits; raise train.max_length")
            del splits[split]
    if not differs:
        # the same rows as for an earlier release, of which the same trials have the same keys
        task = task.model_copy(update={"reading": None})
    task = task.model_copy(update=_score_settings(entry, splits, base, report, where))
    report.problems += label_problems(task, splits, spec.record_answers)
    report.problems += answer_problems(task, splits, spec.record_answers)
    for leak in leaks(splits):
        apart = not is_part(splits["train"][0]) if "train" in splits else True
        _note_leak(leak, spec, report, apart=apart)
    if "validation" not in splits:
        return None
    negative = negative_problem(task, splits, spec.record_answers)
    if negative:
        report.at((*where, "negative"), negative)
    report.problems += undefined_labels(task, splits, spec.record_answers)
    bounds = spec.objective.constraints
    for bound, problem in label_bound_problems(task, splits, bounds, spec.tasks):
        report.at(("objective", "constraints", bound), problem)
    report.warnings += row_warnings(task, splits, spec.record_answers)
    report.warnings += definition_warnings(task, splits)
    report.warnings += repetition_warnings(splits, spec.record_answers)
    for unread in weight_problems(task, splits):
        refused = unread.serious and not report.begun
        (report.problems if refused else report.warnings).append(unread.wording)
    _check_lengths(task, splits, spec, report, models)
    for model in by_tokenizer(models):
        _check_control_tokens(model, splits, report)
        _check_fit(model, task, splits, spec, report)
    files = {
        split: file_ref(path, len(examples)).model_copy(update={"left_out": out.get(split, ())})
        for split, (path, examples) in splits.items()
    }
    return task.model_copy(update=files)


def _left_out(
    splits: dict[str, tuple[str, Sequence[LocatedExample]]],
    spec: SweepSpec,
    models: Iterable[ModelSpec],
    report: Report,
) -> dict[str, tuple[int, ...]]:
    """Take rows that do not fit some model out of *splits*; returns their numbers by split."""
    from sweeps.data.prompts import load_tokenizer, misfits, prompt_texts

    def unfit(model: ModelSpec, examples: Sequence[Example]) -> set[int]:
        try:
            prompt_texts(load_tokenizer(model), examples)
            found = misfits(load_tokenizer(model), examples, spec.train.max_length)
        except InputError:  # the template refuses the turns of some
            if len(examples) == 1:
                return {0}
            return {i for i, each in enumerate(examples) if unfit(model, [each])}
        return {index for index, _ in found}

    tokenizers = by_tokenizer(models)
    left_out: dict[str, tuple[int, ...]] = {}
    for split, (path, located) in list(splits.items()):
        examples = [item.example for item in located]
        indices = set().union(*(unfit(model, examples) for model in tokenizers))
        if not indices:
            continue
        bad = [located[index] for index in sorted(indices)]
        numbers = {item.example.row for item in bad}
        splits[split] = (path, [item for item in located if item.example.row not in numbers])
        left_out[split] = tuple(sorted(numbers))
        lines = ", ".join(str(item.line) for item in bad[:_LINES_SHOWN])
        more = f" and {len(bad) - _LINES_SHOWN} more" if len(bad) > _LINES_SHOWN else ""
        report.warnings.append(
            f"{path}:{bad[0].line}: {plural(len(bad), 'row')} of {count(len(located))} left out "
            f"(drop_unfit), which {count(spec.train.max_length)} tokens cannot hold or a chat template "
            f"refuses: line{'s' * (len(bad) > 1)} {lines}{more}"
        )
    return left_out


def unread_task(name: str, entry: TaskFields, settled: Mapping[str, Any] | None = None) -> TaskSpec:
    """The task before its files are read; *settled*: settings it began with, ``None`` for a new one."""
    return TaskSpec(
        name=name,
        validation=_UNREAD,
        prompt=entry.prompt,
        answer=entry.answer,
        score=entry.written_function[1] if entry.written_function else entry.score,
        negative=entry.negative,
        pattern=entry.pattern,
        labels=definitions(entry.labels),
        encoding=entry.encoding,
        chat_template_kwargs=entry.chat_template_kwargs,
        turns=entry.turns if isinstance(entry, TaskEntry) else "last",
        **(new_settings(entry) if settled is None else settled),
    )


def _score_settings(
    entry: TaskFields, splits: Splits, base: Path, report: Report, where: YamlPath
) -> dict[str, Any]:
    """Fields of the TaskSpec that its score reads, from the entry, the data and files beside them."""
    settings: dict[str, Any] = {
        "unordered": entry.unordered,
        "average": entry.average,
        "tolerance": entry.tolerance,
    }
    if entry.score == "multilabel_f1" or entry.unordered:
        answers = (item.example.answer for _, rows in splits.values() for item in rows)
        settings["separators"] = entry.separator or found_separators(answers)
    if entry.json_schema is not None:
        path = str(absolute(entry.json_schema, base))
        if report.attempt(lambda: load_schema(path), (*where, "json_schema")) is not None:
            settings["json_schema"] = SourceFile(path=path, sha256=digest(path))
    if entry.written_function is not None:
        file, function = entry.written_function
        path = str(absolute(file, base))
        found = report.attempt(lambda: digest(path), (*where, "score"))
        if found is not None:
            low, high = entry.limits
            settings["function"] = ScoreFunction(
                file=SourceFile(path=path, sha256=found),
                function=function,
                low=low,
                high=high,
                minimize=entry.direction == "minimize",
                seconds=entry.seconds_per_row or ScoreFunction.model_fields["seconds"].default,
            )
    return settings


def definitions(labels: Mapping[str, str]) -> tuple[LabelDefinition, ...]:
    """Definitions of *labels* by name, whatever their order in the file: another order is no other task."""
    return tuple(LabelDefinition(name=n.strip(), definition=d) for n, d in sorted(labels.items()))


def _no_rows(split: str) -> str:
    if split == "train":
        why = "every row has the prompt of a row that was set aside for validation"
    else:
        why = "every answer occurs once, and training needs each"
    return f"found no rows left for {split}: {why}; give more rows, or a validation file"


def split_paths(entry: TaskFields, base: Path) -> dict[str, str]:
    """File by split, as given, else beside ``train.*``, else (validation alone) a part of train."""
    train = entry.train if isinstance(entry, TaskEntry) else None
    given = {"train": train, "validation": entry.validation, "test": entry.test}
    paths = {split: absolute(path, base) for split, path in given.items() if path}
    if train and paths["train"].stem == "train":
        for split in ("validation", "test"):
            sibling = paths["train"].with_stem(split)
            if split not in paths and sibling.is_file():
                paths[split] = sibling
    files = {split: str(path) for split, path in paths.items()}
    if "validation" not in files and isinstance(entry, TaskEntry):
        for part in ("train", "validation"):
            files[part] = part_path(str(paths["train"]), part, entry.validation_share)
    return files


def _suite(
    name: str, spec: SweepSpec, base: Path, report: Report, models: Iterable[ModelSpec]
) -> SuiteSpec | None:
    entry = spec.general[name]
    if entry.text is not None:
        file = _text_file(entry.text, entry.encoding, base, report)
        return SuiteSpec(name=name, text=file, measure=entry.measure) if file else None
    task = _task(name, entry.task or entry, spec, base, report, models)
    return SuiteSpec(name=name, task=task, measure=entry.measure) if task else None


def _replay(
    spec: SweepSpec, base: Path, report: Report, general: Mapping[str, SuiteSpec]
) -> FileRef | None:
    """The replay file, which must not hold what a general suite holds."""
    given = spec.replay
    file = _text_file(given.text, given.encoding, base, report) if given else None
    if file is None:
        return None
    texts = read_texts(file)
    for suite in general.values():
        if suite.text is not None:
            problem = shared_texts(file.path, texts, suite.text.path, read_texts(suite.text))
            if problem:
                _note_leak(problem, spec, report)
    return file


def _note_leak(leak: Leak, spec: SweepSpec, report: Report, *, apart: bool = True) -> None:
    """Refuse a leak, or warn of it: *apart*, whether train is a file of its own, not a part of one."""
    if spec.allow_leakage:
        report.warnings.append(leak.wording)
    elif leak.loose and (report.begun or not apart):
        report.warnings.append(f"{leak.wording}; to leave them out: {FIX}")
    else:
        report.problems.append(
            f"{leak.wording}; allowed: none; take them out or set allow_leakage: true; "
            f"to leave them out: {FIX}"
        )


def _check_positions(model: ModelSpec, spec: SweepSpec, report: Report) -> None:
    limit, wanted = max_positions(Path(model.path)), spec.train.max_length
    if limit is not None and wanted > limit:
        report.warnings.append(
            f"train.max_length: found {wanted}; the configuration of {model.name} allows {limit} tokens"
        )


def _check_volumes(spec: SweepSpec, tasks: Mapping[str, TaskSpec], report: Report) -> None:
    for name, mix in spec.mixes.items():
        total = sum(mix.weights.values())
        volume = max(spec.volumes_of(name))
        for task, weight in mix.weights.items():
            file = tasks[task].train if task in tasks else None
            wanted = volume * weight / total
            if file is not None and wanted > file.rows:
                allowed = int(file.rows * total / weight)
                report.at(
                    ("mixes", name, "volumes") if mix.volumes else ("volumes",),
                    f"found {volume} examples, {wanted:g} of them of {task!r} in mix {name!r}; "
                    f"allowed: at most {allowed}, for the {file.rows} rows of its train file",
                )


def by_tokenizer(models: Iterable[ModelSpec]) -> list[ModelSpec]:
    """One model for each tokenizer and chat template among *models*."""
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    found: dict[tuple[str, ...], ModelSpec] = {}
    for model in models:
        files = [Path(model.path) / name for name in names]
        key = tuple(digest(str(file)) if file.is_file() else "" for file in files)
        key += (repr(model.chat_template_kwargs), repr(model.system))
        found.setdefault(key if files[0].is_file() else (model.path,), model)
    return list(found.values())


def _check_control_tokens(model: ModelSpec, splits: Splits, report: Report) -> None:
    file = Path(model.path) / "tokenizer.json"
    tokens = control_tokens(file) if file.is_file() else ()
    report.warnings += control_token_warnings(splits, tokens, model.name)


def _check_fit(
    model: ModelSpec, task: TaskSpec, splits: Splits, spec: SweepSpec, report: Report
) -> None:
    """Refuse rows that a trial of the design may be given and ``train.max_length`` cannot hold."""
    from sweeps.data.prompts import load_tokenizer, misfit_wordings, misfits

    for split, (path, located) in splits.items():
        examples = [item.example for item in located]
        used = sorted(_used_rows(task, split, examples, spec))
        try:
            tokenizer = load_tokenizer(model)
            found = misfits(tokenizer, [examples[i] for i in used], spec.train.max_length)
        except InputError as error:  # a template or a tokenizer that cannot do it
            if report.begun:  # else preflight says it, with the row and the cure
                report.problems += [f"{path}:{located[0].line}: {text}" for text in error.problems]
            return
        leave_out = f"; to leave such rows out: {FIX}" if split == "train" else ""
        rows = [(f"{path}:{located[used[index]].line}", row) for index, row in found]
        lines = [
            f"{line} (tokenizer of {model.name}){leave_out}"
            for line in misfit_wordings(rows, spec.train.max_length)
        ]
        if report.begun:
            report.warnings += lines
        else:
            report.problems += lines


def _used_rows(
    task: TaskSpec, split: str, examples: Sequence[Example], spec: SweepSpec
) -> set[int]:
    """Rows of *split*, by index, that a trial of the design may be given."""
    if split != "train":
        return set(nested_order(examples, EVALUATION_SEED)[: spec.evaluation.rows])
    shares = [
        (mix.weights[task.name] / sum(mix.weights.values()), max(spec.volumes_of(name)))
        for name, mix in spec.mixes.items()
        if task.name in mix.weights
    ]
    most = max((int(share * volume) + 1 for share, volume in shares), default=0)
    if most >= len(examples):
        return set(range(len(examples)))
    seeds = range(spec.first_seed, spec.first_seed + spec.seeds)
    return {index for seed in seeds for index in nested_order(examples, seed)[:most]}


def _check_lengths(
    task: TaskSpec, splits: Splits, spec: SweepSpec, report: Report, models: Iterable[ModelSpec]
) -> None:
    """Prompts that ``train.max_length`` cuts, answers that generation cannot reach."""
    examples = splits["train" if "train" in splits else "validation"][1]
    files = {Path(model.path) / "tokenizer.json": model.name for model in models}
    seen = set()
    for file, model in files.items():
        if not file.is_file() or (file_digest := digest(str(file))) in seen:
            continue
        seen.add(file_digest)
        lengths = Lengths(file, examples)
        limits = {
            ("train", "max_length"): lengths.cut_share(spec.train.max_length),
            ("evaluation", "max_new_tokens"): lengths.unreachable_share(
                spec.evaluation.max_new_tokens
            ),
        }
        for (part, key), share in limits.items():
            found = f"found {getattr(getattr(spec, part), key)}"
            what = "rows" if key == "max_length" else "answers"
            if share == 1:
                report.at((part, key), f"{found}; all {what} of {task.name!r} are longer; raise it")
            elif share >= MIN_CUT_SHARE:
                report.warnings.append(
                    f"{part}.{key}: {found}; {percent(share, 0)} of the {what} of {task.name!r} are "
                    f"longer (tokenizer of {model})"
                )


def _text_file(path: str, encoding: str | None, base: Path, report: Report) -> FileRef | None:
    place = str(absolute(path, base))
    unread = FileRef(path=place, sha256="", rows=0, encoding=encoding)
    texts = report.attempt(lambda: read_texts(unread))
    return None if texts is None else file_ref(place, len(texts), encoding)
