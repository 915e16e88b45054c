"""What several tests of the store begin with: against a real MLflow, no part of it replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracker.errors import StoreError
from tracker.store.journal import Step
from tracker.store.store import Store
from tracker.task import FileRef
from tracker.trial import Objective, TrialRecord, TrialSpec

Specs = Callable[..., TrialSpec]
Records = Callable[..., TrialRecord]

DATASETS = [FileRef(path="data/intent/train.jsonl", sha256="7" * 64, rows=100)]
OBJECTIVE = Objective(weights={"intent": 2.0}, constraints={"forgetting.language": 0.1})
STEPS = [Step(n, 1_700_000_000_000 + n, {"train/loss": 1 / n}) for n in range(1, 4)]


def begin(store: Store, name: str = "support", planned: int | None = 8) -> None:
    store.begin_sweep(
        name,
        spec_text="name: support\n",
        spec_digest="a" * 64,
        planned=planned,
        datasets=DATASETS,
        objective=OBJECTIVE,
        notes=("a note",),
    )


def reopened(store: Store) -> Store:
    experiment = store.client.get_experiment(store._runs.experiment_id)
    return Store.open(store.workspace, store._uri, project=experiment.name)


class Dying:
    """An MLflow client that dies right after its *n*-th write took effect, before it answers.

    To die before a write is to die after the one before it. :meth:`of` makes a store of it, whose writes
    of artifacts count too.
    """

    WRITES = ("create_", "delete_", "log_", "set_", "update_")

    def __init__(self, client: Any, n: int) -> None:
        self._client = client
        self._left = n
        self.died = False

    def of(self, store: Store) -> Store:
        """*store* with this client, and artifacts that die with it."""
        dying = Store(self, store._runs.experiment_id, store.workspace, "sqlite")
        artifacts = dying._runs.artifacts
        for name in ("log_text", "log_folder"):
            setattr(artifacts, name, self._counted(name, getattr(artifacts, name)))
        return dying

    def __getattr__(self, name: str) -> Any:
        return self._counted(name, getattr(self._client, name))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            if name.startswith(self.WRITES):
                self._left -= 1
                if self._left == 0:
                    self.died = True
                    raise ConnectionError("the line went dead")
            return answer

        return call


def client_survives(store: Store, write: Callable[[Store], object]) -> bool:
    """Whether *write* came to its end."""
    try:
        write(store)
    except StoreError:
        return False
    return True
