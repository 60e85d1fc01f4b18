"""Names on the host: files that resolvers read, the resolvers, and containers' resolv.conf.

All is below one folder of the project's, so that a process is known by the file that it was started with, and by the
namespace that it is in. No process is known by its name or its number alone (docs/decisions/014-dns.md).
"""

from __future__ import annotations

import os

from ..locking import DIRECTORY

NETNS_FILES = "/etc/netns"
"""Where `ip netns exec` finds a namespace's own files (ip-netns(8))."""


def folder(host: int, project: str) -> str:
    """Return where a project's files are, on the host whose namespace has that cookie."""
    return f"{DIRECTORY}/dns-{host}/{project}"


def present(host: int, project: str, table: str) -> bool:
    """Whether there may be anything of a project's: whoever has nothing need not load what looks for it.

    `table` is the project's own nft table. It still tells of resolvers where somebody has emptied /run/netapply.
    """
    return os.path.isdir(NETNS_FILES) or resolvers_present(host, project, table)


def resolvers_present(host: int, project: str, table: str) -> bool:
    """Whether there may be resolvers of a project's."""
    return "map resolver_ipv" in table or os.path.isdir(folder(host, project))


def names_file(host: int, project: str, network: str) -> str:
    """Return the file with the names of a network."""
    return f"{folder(host, project)}/names/{network}"


def unread_file(host: int, project: str, network: str) -> str:
    """Return the file that is there while resolvers may not have read the names of a network."""
    return f"{folder(host, project)}/unread/{network}"
