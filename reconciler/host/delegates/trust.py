"""Whether a file may tell root what to do: only root, or the caller, can have put it there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ...errors import HostLacks

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def demand(path: str, what: str) -> None:
    """Raise HostLacks if anybody but root, or the caller, could change what is at a path. `what` names it.

    Every folder on the way counts, and where symbolic links lead, on the way there too. Higher up others may write to a
    sticky folder such as /tmp: only its owner can rename or remove what is in one.
    """
    trusted = {0, os.geteuid()}
    for place, above in _places(path):
        try:
            about = os.lstat(place)
        except OSError as failure:
            raise HostLacks(f"{what} is not used: {place}: {failure.strerror}; see whether it is there") from failure
        if about.st_uid not in trusted:
            who = f"{place} belongs to the user {about.st_uid}, who could change what root runs"
            raise HostLacks(f"{what} is not used: {who}; chown root {place}")
        sticky = above > 1 and about.st_mode & stat.S_ISVTX
        if about.st_mode & _OTHERS_WRITE and not sticky and not stat.S_ISLNK(about.st_mode):
            raise HostLacks(f"{what} is not used: others than root can write to {place}; chmod go-w {place}")


def _places(path: str) -> Iterator[tuple[str, int]]:
    """Yield a path and the folders above it, the same of what it leads to, and how far each is above it."""
    for way in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        parts = way.split("/")
        for above in range(len(parts)):
            yield "/".join(parts[: len(parts) - above]) or "/", above
