"""Regret curves of a replay as one HTML file: ``python -m dashboards.replay_plot replay.json``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from dashboards.charts.replay import draw_regret_curves, regret_curves
from dashboards.charts.theme import LIGHT
from tracker.errors import InputError, SftSelectError


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the file's curves; returns the exit code, 2 for a file that is not a replay's."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.replay_plot", description=__doc__)
    parser.add_argument("data", type=Path, help="replay.json, as `sft-select replay -o` writes it")
    options = parser.parse_args(argv)
    try:
        write_plot(options.data)
    except SftSelectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write_plot(data: Path) -> Path:
    """The HTML file of *data*'s curves, beside it. Raises InputError for a file that holds none."""
    try:
        curves = regret_curves(json.loads(data.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{data}: found no replay ({type(error).__name__}: {error}); allowed: replay.json as "
            "`sft-select replay TABLE -o FOLDER` writes it"
        ) from error
    path = data.with_suffix(".html")
    go.Figure(draw_regret_curves(curves, LIGHT)).write_html(path, include_plotlyjs=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
