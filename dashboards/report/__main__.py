"""A sweep's report as one HTML file: ``python -m dashboards.report``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tracker.errors import InputError, SftSelectError, StoreError

#: Seconds that reading the store may take.
_PATIENCE = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report. Returns the exit code: 2 for what the user can mend, 130 on Ctrl-C."""
    options = _parser().parse_args(argv)
    try:
        _write(options)
    except SftSelectError as error:
        print(error.for_command_line(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sft-select report", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--store", help="MLflow tracking URI (default: the workspace's own)")
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weight", action="append", default=[])
    parser.add_argument("--constraint", action="append", default=[])
    parser.add_argument("--target-quality", action="append", default=[])
    return parser


def _write(options: argparse.Namespace) -> None:
    from dashboards.answers import overrides_in
    from dashboards.state import Query

    query = Query.of(
        options.sweep,
        weight=options.weight,
        constraint=options.constraint,
        target_quality=options.target_quality,
    )
    overrides_in(query)  # a wrong question ends this before anything is read

    from dashboards.report.document import document
    from dashboards.report.sections import head, sections
    from dashboards.snapshot import Patience, Snapshot
    from tracker.files import write_text
    from tracker.store.store import Store

    store = Store.open(options.workspace, options.store, create=False)
    snapshot = Snapshot(store, patience=Patience(_PATIENCE, _PATIENCE))
    view = snapshot.view(options.sweep)
    if view is None and (problem := snapshot.problem(options.sweep)) is not None:
        raise StoreError(problem)
    if view is None:
        names = ", ".join(info.name for info in snapshot.sweeps()) or "none"
        raise InputError(f"sweep {options.sweep!r}: not in the store; sweeps: {names}")
    text = document(f"{view.info.name} · sft-select", head(view), sections(view, query))
    write_text(options.output, text)
    print(f"wrote {options.output} ({len(text.encode()) / 1e6:.1f} MB)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
