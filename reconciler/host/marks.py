"""The marks by which objects of ours are known: a group and an alias (see `reconciler.resources.Link`)."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from ..errors import OperationFailed
from ..resources import ALIAS, LINK_GROUP, Link

SCRATCH_GROUPS = range(LINK_GROUP + 1, LINK_GROUP + 16)
"""Where links are put to be deleted in one request."""

GROUPS = frozenset((LINK_GROUP, *SCRATCH_GROUPS))
"""Groups of ours: a link in one that has no alias is half-made, or was about to be deleted."""

OF_PLUGINS = "netapply-plugin:"
"""How the alias of an interface begins that a plugin made for netapply, followed by PROJECT/PATH. By it nothing is ever
deleted: it only says that no stranger is in the way where the plugin's record is lost."""

_HOST = "host="

LONGEST = 255
"""Bytes in an alias: IFALIASZ of linux/if.h less the terminating zero."""


class Mark(NamedTuple):
    """What an alias of ours says. `path` is a link's path, or on `lo` the name of the container."""

    project: str
    path: str
    tags: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()


@cache
def mark(alias: str) -> Mark | None:
    """Return what the alias says, None if it is no mark of netapply's."""
    if not alias.startswith(ALIAS):
        return None
    name, *tags = alias.removeprefix(ALIAS).split(";")
    project, slash, path = name.partition("/")
    if not slash:
        return None
    sysctls: tuple[str, ...] = ()
    if tags and tags[-1].startswith("sysctls="):
        sysctls = tuple(tags.pop().removeprefix("sysctls=").split(","))
    return Mark(project, path, tuple(tags), sysctls)


def alias(project: str, path: str, tags: Iterable[str] = (), sysctls: Iterable[str] = ()) -> str:
    """Return the alias that says so. Raises OperationFailed when it is too long for the kernel."""
    words = [f"{ALIAS}{project}/{path}", *tags]
    if names := ",".join(sysctls):
        words.append(f"sysctls={names}")
    text = ";".join(words)
    if len(text.encode()) > LONGEST:
        raise OperationFailed(
            f"link {path}: its mark has {len(text.encode())} bytes, and the kernel keeps {LONGEST};"
            " use shorter names or fewer sysctls",
            errno.EMSGSIZE,
        )
    return text


def sandbox_alias(project: str, container: str, host: int) -> str:
    """Return the alias of `lo` in a namespace that is made for a container by the host whose namespace has the cookie.

    Several hosts may see the same names, as where hosts are namespaces themselves that share one /run.
    """
    return alias(project, container, [f"{_HOST}{host}"])


def made_by(found: Mark, host: int) -> bool:
    """Whether the mark of a namespace is that host's; one that says nothing of hosts is anybody's."""
    return f"{_HOST}{host}" in found.tags or not any(tag.startswith(_HOST) for tag in found.tags)


def alias_of(project: str, link: Link) -> str:
    """Return the alias of both ends of a link. Raises OperationFailed when it is too long."""
    return alias(project, link.path, link.tags, link.sysctls)
