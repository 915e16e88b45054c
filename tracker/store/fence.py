"""Fence of the store's client: a driver that no longer owns its sweep writes nothing more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tracker.errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient


class FencedClient:
    """MLflow's client, each call of which first asks whether this process may still write."""

    def __init__(self, client: MlflowClient, is_owned: Callable[[], bool]) -> None:
        self._client, self._is_owned = client, is_owned

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._is_owned():
                raise StoreError(
                    "the tracking store waits until the study's database answers and says that this "
                    "driver still owns the sweep"
                )
            return method(*args, **kwargs)

        return call
