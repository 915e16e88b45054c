"""The dashboard over a store of 10,000 trials and 1,000,000 metric rows: how long a visitor waits.

Starts the real server on a store made for it (``--workspace`` keeps it for the next time) and measures, in
one run: reading the store for the first time; the first page in Chromium; pages, filters and scrolling, asked
of the server as a browser asks; twenty visitors at once; taking in fifty new trials; memory; and the fifty
best trials by score, beside MLflow's own ``search_runs``.

``python -m tests.benchmarks.dashboard_load [--trials 10000] [--rows 1000000] [--workspace DIR]``
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.snapshot import Patience, Snapshot
from tests.benchmarks.large_store import NAME, large_store, many_records
from tracker.store.store import Store

VISITORS = 20
CLICKS = 60  # of one visitor alone
CROWD_CLICKS = 20  # of each of many
PAUSE = (1.0, 3.0)  # seconds that each of many looks at what came, before the next click
NEW = 50


class Server(NamedTuple):
    """A running dashboard: its address, its process, and what its callbacks take."""

    address: str
    process: subprocess.Popen[str]
    callbacks: list[dict[str, Any]]

    def ask(self, output: str, values: dict[str, Any]) -> Any:
        """What the callback for *output* answers; *values* by ``id.property``, others ``None``."""
        callback = next(c for c in self.callbacks if output in c["output"])

        def given(wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            return [w | {"value": values.get(f"{w['id']}.{w['property']}")} for w in wanted]

        outputs = [
            dict(zip(("id", "property"), name.rsplit(".", 1), strict=True))
            for name in callback["output"].strip(".").split("...")
        ]
        body = {
            "output": callback["output"],
            "outputs": outputs if callback["output"].startswith("..") else outputs[0],
            "inputs": given(callback["inputs"]),
            "state": given(callback.get("state", [])),
            "changedPropIds": [f"{w['id']}.{w['property']}" for w in callback["inputs"][:1]],
        }
        request = urllib.request.Request(
            f"{self.address}/_dash-update-component",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @property
    def megabytes(self) -> float:
        """The most memory the process has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024


@contextmanager
def serving(workspace: Path) -> Iterator[Server]:
    """The dashboard over *workspace*, its own process."""
    command = [sys.executable, "-m", "dashboards", "--workspace", str(workspace), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, "the server did not say where it listens"
        with urllib.request.urlopen(f"{found[0]}/_dash-dependencies") as answer:
            callbacks = json.loads(answer.read())
        yield Server(found[0], process, callbacks)
        process.terminate()


def seconds(what: Callable[[], Any]) -> float:
    """Wall seconds that *what* takes."""
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def wait_until_read(server: Server) -> None:
    """Ask as an open page does until the trials are there."""
    while True:
        answer = server.ask("results.data", {"url.search": f"?sweep={NAME}"})
        data = answer["response"].get("results", {}).get("data", "") if answer else ""
        if data and "reading" not in data:
            return
        time.sleep(0.2)


def first_page(server: Server) -> list[float]:
    """Seconds from entering the address to a page with its grid or chart, in a fresh Chromium tab."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"]
        )
        for _ in range(5):
            page = browser.new_context().new_page()
            begun = time.perf_counter()
            page.goto(f"{server.address}/?sweep={NAME}")
            page.get_by_role("heading", name=NAME, level=1).wait_for(timeout=120_000)
            page.locator("#sweep-best .point").first.wait_for(timeout=120_000)
            found.append(time.perf_counter() - begun)
            page.context.close()
        browser.close()
    return found


def clicks(server: Server, chance: random.Random) -> Iterator[Callable[[], Any]]:
    """Anything a visitor may do, at random: pages, filters, sorts, scrolling."""
    frames = ("-content.children", "sweep-head.children", "trials-head.children")
    pages = [c["output"] for c in server.callbacks if any(f in c["output"] for f in frames)]
    sorts = ("number", "quality", "volume", "device_seconds", "model")
    while True:
        search = f"?sweep={NAME}&task={chance.choice(['topic', 'roles', 'facts'])}"
        search += f"&mix={chance.choice(['even', 'plain', 'facts'])}"
        state = {"url.search": search, "theme.data": chance.choice(["light", "dark"])}
        if chance.random() < 0.5:
            start = 100 * chance.randrange(80)
            ask = {
                "startRow": start,
                "endRow": start + 100,
                "sortModel": [
                    {"colId": chance.choice(sorts), "sort": chance.choice(["asc", "desc"])}
                ],
                "filterModel": {},
            }
            yield partial(
                server.ask,
                "trials-table.getRowsResponse",
                state | {"trials-table.getRowsRequest": ask},
            )
        else:
            page = chance.choice(pages)
            yield partial(server.ask, page, state)


def visit(server: Server, seed: int) -> list[float]:
    """Seconds of each of a visitor's clicks, who never stops to look."""
    return [seconds(click) for click in islice(clicks(server, random.Random(seed)), CLICKS)]


def stroll(server: Server, seed: int) -> list[float]:
    """Seconds of each of a visitor's clicks, who looks at what came."""
    chance, found = random.Random(seed), []
    for click in islice(clicks(server, chance), CROWD_CLICKS):
        time.sleep(chance.uniform(*PAUSE))
        found.append(seconds(click))
    return found


def refresh_seconds(store: Store) -> tuple[float, float]:
    """Seconds to take in fifty new trials once they are written, and to make their rows."""
    clock = [0.0]
    snapshot = Snapshot(
        store, interval=0.0, clock=lambda: clock[0], patience=Patience(900.0, 900.0)
    )
    view = snapshot.view(NAME)
    assert view is not None
    assert len(view.analysis.table)
    before = len(view.analysis.records)  # a kept store holds those of earlier runs
    new = list(many_records(before + NEW))[-NEW:]
    store.set_sweep_state(NAME, "running")
    store.end_trials(NAME, new)
    clock[0] += 1000
    took = seconds(lambda: snapshot.view(NAME))
    after = snapshot.view(NAME)
    assert after is not None
    assert len(after.analysis.records) == before + NEW
    rows = seconds(lambda: after.analysis.table)
    store.set_sweep_state(NAME, "finished")
    return took, rows


def top_fifty(server: Server, store: Store) -> tuple[float, float]:
    """Median seconds for the fifty best by score: by the dashboard, and by MLflow."""
    ask = {
        "startRow": 0,
        "endRow": 50,
        "sortModel": [{"colId": "quality", "sort": "desc"}],
        "filterModel": {},
    }
    state = {"url.search": f"?sweep={NAME}", "trials-table.getRowsRequest": ask}
    experiment = store.client.get_experiment_by_name("sft-select")
    order = ["metrics.`eval/topic/score` DESC"]

    def theirs() -> None:
        store.client.search_runs([experiment.experiment_id], order_by=order, max_results=50)

    ours = [seconds(lambda: server.ask("trials-table.getRowsResponse", state)) for _ in range(10)]
    return statistics.median(ours), statistics.median(seconds(theirs) for _ in range(10))


def p95(values: Sequence[float]) -> str:
    """The 95th percentile and the median, in milliseconds."""
    high = statistics.quantiles(values, n=20)[-1]
    return f"p95 {1000 * high:.0f} ms, median {1000 * statistics.median(values):.0f} ms"


def measure(workspace: Path, trials: int, rows: int) -> None:
    """Print what one server bears."""
    store = large_store(workspace, trials, rows)
    with serving(workspace) as server:
        print(f"first reading: {seconds(lambda: wait_until_read(server)):.1f} s", flush=True)
        warm = seconds(lambda: [click() for click in islice(clicks(server, random.Random(99)), 40)])
        print(f"answers worked out for the first time, 40 clicks: {warm:.1f} s", flush=True)
        time.sleep(60)  # what is worked out in the background
        print(f"first page: {', '.join(f'{s:.2f}' for s in first_page(server))} s", flush=True)
        print(f"one visitor, {CLICKS} clicks: {p95(visit(server, 0))}", flush=True)
        with ThreadPoolExecutor(VISITORS) as pool:
            visits = list(pool.map(lambda seed: stroll(server, seed), range(1, VISITORS + 1)))
        print(
            f"{VISITORS} visitors, {PAUSE[0]:g} to {PAUSE[1]:g} s between clicks: "
            f"{p95([s for of_visitor in visits for s in of_visitor])}",
            flush=True,
        )
        ours, theirs = top_fifty(server, store)
        print(
            f"top 50 by score: {ours:.3f} s, MLflow {theirs:.3f} s: {theirs / ours:.0f} times",
            flush=True,
        )
        print(f"memory: {server.megabytes:.0f} MB at most", flush=True)
    took, made = refresh_seconds(store)
    print(f"refresh after {NEW} new trials: {took:.2f} s, their rows {made:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workspace", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options.workspace or Path(folder), options.trials, options.rows)


if __name__ == "__main__":
    main()
