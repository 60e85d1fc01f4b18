"""What plugins make and keep: how they are called, and the records by which it is known what they were asked for.

For each such object there is a record below /run/netapply, written before its plugin is called. By it a killed run is
healed: what is not made by its record, or broken by the plugin's own word, is taken away and made again. A protocol
is a module with `ready`, `make`, `unmake` and `trouble` (docs/decisions/008-what-plugins-keep.md).
"""

from __future__ import annotations

import os

from ..locking import DIRECTORY


def folder(host: int, project: str) -> str:
    """Return where a project's records are, on the host whose namespace has that cookie."""
    return f"{DIRECTORY}/plugins-{host}/{project}"


def recorded(host: int, project: str) -> bool:
    """Whether a project has any records: whoever has none need not load what reads them."""
    return os.path.isdir(folder(host, project))
