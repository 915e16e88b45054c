import itertools
from pathlib import Path

import pytest

from tracker.store.store import Store

_PROJECTS = itertools.count()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module, with a blank in its path: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("work space")


@pytest.fixture
def store(workspace: Path) -> Store:
    """A project of its own in the module's database."""
    return Store.open(workspace, project=f"project-{next(_PROJECTS)}")
