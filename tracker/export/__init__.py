"""A configuration in the words of another trainer."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import Argument, ArgumentError

if TYPE_CHECKING:
    from tracker.export.config import Config
    from tracker.export.recipe import Recipe, Row

#: Title of each trainer by its name.
TRAINERS = {"trl": "TRL", "llamafactory": "LLaMA-Factory", "axolotl": "Axolotl"}


def export_config(
    config: Config, to: str, rows: Callable[[], Sequence[Row]], folder: Path
) -> list[str]:
    """Write *config* and its rows for trainer *to* into *folder*; returns what to tell the user.

    *rows*: called only once the method is known to be one the trainer has. InputError names the
    trainers there are, or what this one lacks.
    """
    from tracker.export import recipe

    trainer = _module(to)
    recipe.check_method(config, to, trainer.VARIANTS)
    exported = trainer.export(config, rows(), folder)
    return [
        *(f"wrote {path}" for path in exported.files),
        *(f"note: {note}" for note in exported.notes),
        f"to train it: cd {shlex.quote(str(folder))} && {exported.command}",
    ]


def recipe_for(config: Config, to: str) -> Recipe:
    """What :func:`export_config` writes beside the rows, as text and without reading any row.

    Raises as it does, and InputError where the trial trains every turn of conversations: what a trainer is
    told of them, only the rows can say.
    """
    from tracker.errors import InputError
    from tracker.export import recipe

    spec = config.trial
    if any(task.turns == "all" for task in spec.tasks if task.name in spec.examples):
        raise InputError(
            f"turns: all: the settings for {TRAINERS.get(to, to)} depend on the rows; write its files with "
            f"them: sft-select export CONFIG --to {to}"
        )
    found: Recipe = _module(to).recipe_of(config, recipe.planned(config.trial))
    return found


def _module(to: str) -> Any:
    """The module that writes for trainer *to*; they share :func:`export` and :func:`recipe_of`."""
    from tracker.export import axolotl, llamafactory, trl
    from tracker.validation import unknown

    modules = {"trl": trl, "llamafactory": llamafactory, "axolotl": axolotl}
    if to not in modules:
        raise ArgumentError(Argument("to", unknown(to, TRAINERS)))
    return modules[to]
