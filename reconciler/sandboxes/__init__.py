"""Sandboxes: where the network namespace of a container is, by each kind of reference.

A kind is a module of this package with `place(value) -> str`: the path at which the namespace can be opened, if it is
there. It raises Pending, with the reason, where it knows that there is none yet.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable


class Pending(Exception):
    """The container has no network namespace now; the message says why."""


def place(kind: str, value: str) -> str:
    """Return the path of the namespace that a reference such as "netns", "web" means. Raises Pending."""
    find: Callable[[str], str] = importlib.import_module(f"{__name__}.{kind}").place
    return find(value)
