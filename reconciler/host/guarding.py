"""A copy of the guard table, for the case that somebody flushes the ruleset (a firewall's reload does).

Forwarding stays on then, and nothing else tells which links netapply found when it turned that on. Without the copy
(/run is emptied when the machine starts, and forwarding is off again) the table in the kernel is what counts.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .locking import DIRECTORY
from .namespaces import refuse


def remembered(cookie: int) -> str | None:
    """Return the guard table's text as it was last made in the namespace with that cookie."""
    try:
        with open(_path(cookie), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def remember(cookie: int, text: str) -> None:
    """Keep the text, before it is loaded. Raises NotPermitted and OperationFailed."""
    draft = f"{_path(cookie)}.new"
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, _path(cookie))
    except OSError as failure:
        raise refuse(failure, f"the copy of the guard table in {DIRECTORY}") from failure


def forget(cookie: int) -> None:
    """Remove the copy, before the table is deleted."""
    with suppress(OSError):
        os.unlink(_path(cookie))


def _path(cookie: int) -> str:
    return f"{DIRECTORY}/guard-{cookie}.nft"
