"""Long-lived objects by the million, and a garbage collector that would look through them while a page waits.

A full collection over the records of 10,000 trials stops every thread for half a second or more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled() -> Iterator[None]:
    """What is made inside is never looked through again: it is freed as soon as nothing refers to it.

    In a cycle it would stay for good: for plain values alone, and once.
    """
    gc.collect(1)  # what is garbage now would otherwise be kept for good
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
