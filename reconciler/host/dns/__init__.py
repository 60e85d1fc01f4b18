"""Names on the host: files that resolvers read, the resolvers, and containers' resolv.conf.

All is below one folder of the project's, so that a process is known by the file that it was started with, and by the
namespace that it is in. No process is known by its name or its number alone (docs/decisions/014-dns.md).
"""

from __future__ import annotations

import os

from ..locking import DIRECTORY

OPTION = "--conf-file="
"""How the last word of a resolver's command line begins; what follows is its file."""

SANDBOXES = "sandboxes"

NETNS_FILES = "/etc/netns"
"""Where `ip netns exec` finds a namespace's own files (ip-netns(8))."""


def folder(host: int, project: str) -> str:
    """Return where a project's files are, on the host whose namespace has that cookie."""
    return f"{DIRECTORY}/dns-{host}/{project}"


def inside(host: int, project: str) -> str:
    """Return the folder with the files of a project's resolvers in sandboxes. Such a process is the project's in
    whichever namespace it is, since a container can leave it behind in one that has no name any more."""
    return f"{folder(host, project)}/{SANDBOXES}"


def file_of(process: str, folder: str) -> str | None:
    """Return the file of that folder that a process was started with as we start a resolver: by its whole command line,
    of which that is the end."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read(4096)
    except OSError:
        return None
    program, _, rest = words.partition(b"\0")
    start = f"{OPTION}{folder}/".encode()
    if not program.endswith(b"/dnsmasq") or not rest.startswith(start) or rest.count(b"\0") != 1:
        return None
    return rest[:-1].decode("utf-8", "replace").removeprefix(OPTION)


def is_resolver(process: str, folder: str) -> bool:
    """Whether a process of this PID namespace is a resolver with a file of that folder; quick for all others."""
    try:
        with open(f"/proc/{process}/comm", "rb") as file:
            if file.read() != b"dnsmasq\n":
                return False
        here = os.readlink("/proc/thread-self/ns/pid")
        return file_of(process, folder) is not None and os.readlink(f"/proc/{process}/ns/pid") == here
    except OSError:
        return False


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
