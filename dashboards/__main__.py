"""``python -m dashboards --workspace DIR``: serve the dashboard on this machine."""

from __future__ import annotations

import argparse
import ctypes
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.access import access_for, address_of
from tracker.errors import InputError, SftSelectError

#: Parameters of glibc's mallopt(3): number of arenas, and the size in bytes from which a block is mapped.
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Returns the exit code: 2 for what the user can mend, 130 on Ctrl-C."""
    options = _parser().parse_args(argv)
    try:
        _serve(options)
    except SftSelectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sft-select dashboard", description=__doc__)
    parser.add_argument(
        "--workspace", type=Path, required=True, help="folder that holds the sweeps"
    )
    parser.add_argument("--store", help="MLflow tracking URI (default: the workspace's own)")
    parser.add_argument("--sweep", help="the sweep to open (default: the latest)")
    parser.add_argument("--port", type=_port, default=8050, help="0 takes a free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; beyond loopback visitors need a token",
    )
    parser.add_argument(
        "--allow-name", action="append", default=[], metavar="NAME",
        help="another host name of this machine to serve (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--control",
        action="store_true",
        help="allow visitors to pause, resume and stop a sweep, stop and clone trials, raise the budget",
    )
    parser.add_argument(
        "--mlflow-url", metavar="URL",
        help="address of `mlflow ui`, to link trials to their runs (default: --store if a server)",
    )  # fmt: skip
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: 0 (any free one) to 65535")
    return int(text)


def _serve(options: argparse.Namespace) -> None:
    _keep_memory_small()
    # A page requests several parts at once: that some wait a moment is no news for a terminal.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # Heavy imports wait until the options are known to be good.
    from dashboards.app import create_app
    from dashboards.server import Server
    from dashboards.trials.reader import mlflow_address
    from tracker.store.store import Store

    store = Store.open(options.workspace, options.store, create=False)
    mlflow_url = mlflow_address(options.mlflow_url, options.store)
    access = access_for(options.host, options.workspace, options.allow_name)
    app = create_app(
        store,
        default_sweep=options.sweep,
        access=access,
        control=options.control,
        mlflow_url=mlflow_url,
    )
    try:
        # By the name localhost a machine may have two addresses; a server has one.
        host = "127.0.0.1" if options.host == "localhost" else options.host
        server = Server(app.server, host, options.port)
    except OSError as error:
        raise InputError(
            f"--host {options.host} --port {options.port}: {error.strerror}; the address must be one of "
            "this machine, the port a free one (0 takes any)"
        ) from error
    print(f"Dashboard: {address_of(options.host, server.effective_port, access.token)}", flush=True)
    print("Ctrl-C ends it.", flush=True)
    server.run()


def _keep_memory_small() -> None:
    """Make glibc return freed memory to the system; other C libraries have no such setting.

    By default each thread has an arena that keeps freed blocks of megabytes: eight threads would each keep
    the memory that fitting the laws takes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 2)
    mallopt(_MMAP_THRESHOLD, 1 << 19)


if __name__ == "__main__":
    sys.exit(main())
