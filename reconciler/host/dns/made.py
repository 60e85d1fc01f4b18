"""The resolv.conf that netapply makes for a container that has none, as Podman leaves those with `--network none`.

It is made in the container's own root file system, and stays there while the container stops and starts, until the
container leaves the manifest. Only where nothing is is something made. It appears whole, and is known by its first
line. Nothing is made where the root is not the container's alone: it has to be an overlay, or a folder that bears a
container's ID, and its /etc another than the host's.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...errors import OperationFailed
from ..namespaces import Trap
from .resolvconf import marked

_NAME = "resolv.conf"
_DRAFT = ".resolv.conf.netapply"
"""What is there of a file before it gets its name. With a killed run it stays, and counts as a file to be mended."""

_MOST = 65536
_OVERLAYS = ("overlay", "fuse.fuse-overlayfs")
_OF_A_CONTAINER = re.compile(r"/[0-9a-f]{64}")
"""How the path of a root ends that Podman keeps without an overlay."""


@contextmanager
def reached(pid: int) -> Iterator[tuple[int, int] | None]:
    """Give descriptors of a container's root and of its /etc, None where there are none."""
    descriptors: list[int] = []
    try:
        with suppress(OSError):
            descriptors.append(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptors.append(os.open("etc", flags, dir_fd=descriptors[0]))
        yield (descriptors[0], descriptors[1]) if len(descriptors) > 1 else None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def opened(pid: int) -> Iterator[int | None]:
    """Give a descriptor of a container's /etc, None where it is not the container's alone."""
    with reached(pid) as both:
        etc = None
        with suppress(OSError):
            etc = both[1] if both and _is_its_own(pid, *both) else None
        yield etc


def _is_its_own(pid: int, root: int, etc: int) -> bool:
    """Whether /etc is part of a container's root, and that nobody else's."""
    mount, there = mount_of(root), os.fstat(etc)
    try:
        here: os.stat_result | None = os.stat("/etc")
    except FileNotFoundError:
        here = None
    if mount_of(etc) != mount or (here and os.path.samestat(here, there)):
        return False
    for words in mounts(pid):
        if words[0] == mount:
            return words[words.index("-") + 1] in _OVERLAYS or _OF_A_CONTAINER.search(words[3][-65:]) is not None
    return False


def mount_of(descriptor: int) -> str:
    """Return the number of the mount that something was opened on (proc(5), fdinfo). Raises OSError."""
    with open(f"/proc/thread-self/fdinfo/{descriptor}", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id"))


def mounts(pid: int) -> Iterator[list[str]]:
    """Yield what is mounted in a container: the number first, the path in its file system fourth, the kind after a dash
    (proc(5), mountinfo). Raises OSError."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            yield line.split()


def text(etc: int, name: str = _NAME, *, mounted: bool = False) -> str | None:
    """Return what is in the resolv.conf: None where none is, "" where what is there is no file that can be read.

    One that somebody has mounted there counts only if it may be `mounted`.
    """
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        is_file = stat.S_ISREG(os.fstat(found).st_mode)  # to open a device would be to use it
        if not is_file or not (mounted or mount_of(found) == mount_of(etc)):
            return ""
        # whoever has a lease on it (fcntl(2), F_SETLEASE) would have us wait
        with open(os.open(f"/proc/thread-self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(found)


def is_ours(content: str | None) -> bool:
    """Whether a file is one of netapply's, of whichever project's."""
    return content is not None and bool(marked(content.partition("\n")[0])[0])


def seen(pid: int) -> str:
    """Return what a file of netapply's says, "" where there is none. Where a killed run has left a draft, it is the
    first line alone."""
    with opened(pid) as etc:
        if etc is None:
            return ""
        found, draft = text(etc), text(etc, _DRAFT)
    if draft is not None and is_ours(draft) and (found is None or is_ours(found)):
        return draft.partition("\n")[0]
    return found if found is not None and is_ours(found) else ""


def place(pid: int) -> tuple[int, int] | None:
    """Return what tells a container's own /etc from others, None where it has none of its own."""
    with opened(pid) as etc:
        found = os.fstat(etc) if etc is not None else None
    return (found.st_dev, found.st_ino) if found else None


def can_be(pid: int) -> bool:
    """Whether a file of netapply's is there, or one can be made there."""
    with opened(pid) as etc:
        if etc is None:
            return False
        found = text(etc)
        return (found is None or is_ours(found)) and os.access(f"/proc/thread-self/fd/{etc}", os.W_OK)


def write(pid: int, container: str, lines: list[str], trap: Trap) -> None:
    """Make the file, or make it anew where it is netapply's. Raises OSError, OperationFailed."""
    with opened(pid) as etc:
        there = text(etc) if etc is not None else None
        if etc is None or not (there is None or is_ours(there)):
            raise OperationFailed(f"container {container} has no place for a resolv.conf (ENOENT)", errno.ENOENT)
        with _as_its_owner(etc):
            trap(f"write the resolv.conf of {container}")
            try:
                _draft(etc, lines)
                trap(f"put the resolv.conf of {container} in its place")
                if there is None:  # never over what somebody has made meanwhile
                    os.link(_DRAFT, _NAME, src_dir_fd=etc, dst_dir_fd=etc, follow_symlinks=False)
                else:
                    os.rename(_DRAFT, _NAME, src_dir_fd=etc, dst_dir_fd=etc)
            finally:
                _remove(etc, _DRAFT)


def _draft(etc: int, lines: list[str]) -> None:
    _remove(etc, _DRAFT)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_DRAFT, flags, 0o644, dir_fd=etc), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write("".join(f"{line}\n" for line in lines))


def remove(pid: int, container: str, whose: tuple[str, int], trap: Trap) -> None:
    """Take the file away, if it is that of the project and the host. Raises OSError."""
    with opened(pid) as etc:
        if etc is not None:
            with _as_its_owner(etc):
                for name in (_DRAFT, _NAME):
                    project, _, host = marked((text(etc, name) or "").partition("\n")[0])
                    if (project, host) == whose:
                        trap(f"remove the {name.removeprefix('.')} of {container}")
                        _remove(etc, name)


def _remove(etc: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=etc)


@contextmanager
def _as_its_owner(etc: int) -> Iterator[None]:
    """Make files as the owner of /etc does. An overlay that a user has mounted takes none of root's (EOVERFLOW)."""
    owner = os.fstat(etc)
    if owner.st_uid == os.geteuid():
        yield
        return
    import ctypes

    library, group = ctypes.CDLL(None), os.getegid()
    try:
        library.setfsgid(owner.st_gid)
        library.setfsuid(owner.st_uid)
        yield
    finally:
        library.setfsuid(os.geteuid())
        library.setfsgid(group)
