"""Long-lived objects by the million, and a garbage collector that would look through them while a page waits.

A full collection over the records of 10,000 trials stops every thread for half a second or more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled() -> Iterator[None]:
    """What is made inside is not looked through again: it is freed as soon as nothing refers to it.

    What became garbage in a cycle meanwhile is freed at the next call, which looks through everything
    once: for what is seldom read and large.
    """
    gc.unfreeze()
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
