"""Network namespaces: entering, making, naming and removing them.

Names are files under /run/netns with the namespace mounted on them, as ip-netns(8) has it, so that `ip netns` and
netapply see the same. A name file of ours has the namespace's mark in it, which shows when nothing is mounted on it:
that is what a run leaves behind that was killed between making the file and mounting, or unmounting and removing it.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..errors import NotPermitted, OperationFailed
from .netlink import Socket

if TYPE_CHECKING:
    import ctypes

T = TypeVar("T")

NAMES = "/run/netns"

RIGHTS = "netapply needs CAP_NET_ADMIN and CAP_SYS_ADMIN; run it as root, for instance with sudo"

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_MARK_BYTES = 300

Trap = Callable[[str], None]
"""Called with what is about to be done, before each single effect; see `reconciler.host.linux.LinuxHost`."""


class Place(NamedTuple):
    """Where a namespace can be entered: a path to open, and the cookie that it must have (None: any)."""

    path: str
    cookie: int | None = None


def refuse(failure: OSError, what: str) -> NotPermitted | OperationFailed:
    """Return the error that a failed system call means. `what` names the object."""
    if failure.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"{what}: not permitted; {RIGHTS}")
    name = errno.errorcode.get(failure.errno or 0, str(failure.errno))
    return OperationFailed(f"{what}: {os.strerror(failure.errno or 0)} ({name})", failure.errno or 0)


def setns(descriptor: int) -> None:
    """Move this thread into a network namespace. Raises OSError; EINVAL for what is none."""
    if sys.version_info >= (3, 12):
        os.setns(descriptor, _CLONE_NEWNET)
    else:
        _call("setns", descriptor, _CLONE_NEWNET)


def unshare() -> None:
    """Move this thread into a new network namespace. Raises OSError."""
    if sys.version_info >= (3, 12):
        os.unshare(_CLONE_NEWNET)
    else:
        _call("unshare", _CLONE_NEWNET)


def current() -> int:
    """Return a descriptor of this thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def in_a_thread(task: Callable[[], T]) -> T:
    """Return what a task returns that enters namespaces, run by a thread of its own.

    The main thread's namespace is what others take for the process's: none must seem to have somebody living in it
    because netapply looks in. And nothing can leave the caller in the wrong one.
    """
    return side_by_side(task)[0]


def side_by_side(*tasks: Callable[[], T]) -> list[T]:
    """Return what the tasks return, each run by a thread of its own, all at a time. Raises what the first raised."""
    results: dict[int, T] = {}
    failures: dict[int, BaseException] = {}

    def run(number: int, task: Callable[[], T]) -> None:
        try:
            results[number] = task()
        except BaseException as failure:  # noqa: BLE001 - it is raised again, in the thread that asked
            failures[number] = failure

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(tasks))]


@contextmanager
def back_to(home: int) -> Iterator[None]:
    """Return to the namespace `home` at the end, whatever was entered in between."""
    try:
        yield
    finally:
        try:
            setns(home)
        except PermissionError:  # who may not return could not leave
            if os.fstat(home).st_ino != os.stat("/proc/thread-self/ns/net").st_ino:
                raise


@contextmanager
def opened(place: Place) -> Iterator[int]:
    """Give a descriptor of the namespace. Raises OperationFailed and NotPermitted."""
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as failure:
        raise refuse(failure, f"namespace {place.path}") from failure
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def entered(place: Place, home: int) -> Iterator[Socket]:
    """Be in a namespace, with a socket to its kernel side, and return to `home`. Raises as `opened` does."""
    with opened(place) as descriptor, back_to(home), _door(place, descriptor) as door:
        yield door


def door_to(place: Place, home: int) -> Socket:
    """Return a socket to a namespace's kernel side, whose messages act there wherever the thread is; it is back in
    `home`. Raises as `opened` does."""
    with opened(place) as descriptor, back_to(home):
        return _door(place, descriptor)


def _door(place: Place, descriptor: int) -> Socket:
    """Move the thread into a namespace, and return a socket to it."""
    try:
        setns(descriptor)
        door = Socket()
    except OSError as failure:
        raise refuse(failure, f"namespace {place.path}") from failure
    if place.cookie not in (None, door.cookie):
        door.close()
        raise OperationFailed(f"namespace {place.path} has become another one meanwhile", errno.ESTALE)
    return door


def path_of(name: str) -> str:
    """Return where the namespace of that name is mounted."""
    return f"{NAMES}/{name}"


def names() -> list[str]:
    """Return the names under /run/netns, namespaces or not, sorted."""
    try:
        return sorted(os.listdir(NAMES))
    except FileNotFoundError:
        return []


def is_mounted(name: str) -> bool:
    """Whether something is mounted on the name file, rather than there being a file only. Raises OSError."""
    return os.stat(path_of(name)).st_dev != os.stat(NAMES).st_dev


def left_mark(descriptor: int) -> str:
    """Return the mark in a name file of ours that nothing is mounted on, "" for any other file."""
    try:
        return os.pread(descriptor, _MARK_BYTES, 0).decode("utf-8", "replace")
    except OSError:
        return ""


def prepare_names(trap: Trap) -> None:
    """Make /run/netns as iproute2 does (create_netns_dir of ip/ipnetns.c): what is mounted in it shows everywhere."""
    trap(f"make {NAMES}")
    os.makedirs(NAMES, mode=0o755, exist_ok=True)
    try:
        _mount("", NAMES, _MS_SHARED | _MS_REC)
    except OSError as failure:
        if failure.errno != errno.EINVAL:  # EINVAL: it is no mount yet
            raise
        _mount(NAMES, NAMES, _MS_BIND | _MS_REC)
        _mount("", NAMES, _MS_SHARED | _MS_REC)


def claim(name: str, mark: str, trap: Trap) -> None:
    """Make the name file with the mark in it, in one step. A file that nothing is mounted on is taken over.

    Raises OSError; EEXIST where a namespace of that name is.
    """
    trap(f"make the name of namespace {name}")
    directory = os.open(NAMES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        draft = os.open(NAMES, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o444)
        try:
            os.write(draft, mark.encode())
            # linkat with AT_SYMLINK_FOLLOW, which Python uses only when a directory is given
            os.link(f"/proc/self/fd/{draft}", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
        except FileExistsError:
            if is_mounted(name) or not os.path.isfile(path_of(name)):
                raise
        finally:
            os.close(draft)
    finally:
        os.close(directory)


def bind(source: str, name: str, trap: Trap) -> None:
    """Mount a namespace, given by a path such as /proc/self/fd/7, on its claimed name. Raises OSError."""
    trap(f"mount namespace {name}")
    _mount(source, path_of(name), _MS_BIND)


def remove(name: str, trap: Trap) -> None:
    """Unmount a namespace and remove its name. It lives on while something holds it. Raises OSError."""
    trap(f"unmount namespace {name}")
    _call("umount2", path_of(name).encode(), _MNT_DETACH)
    remove_name(name, trap)


def remove_name(name: str, trap: Trap) -> None:
    """Remove a name file that nothing is mounted on; one that is a namespace by now stays. Raises OSError."""
    if is_mounted(name):
        return
    trap(f"remove the name of namespace {name}")
    with suppress(FileNotFoundError):
        os.unlink(path_of(name))


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may: each namespace that is kept for rolling back is one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """Return how many files this process may have open."""
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _mount(source: str, target: str, flags: int) -> None:
    _call("mount", source.encode(), target.encode(), b"none", flags, None)


@functools.cache
def _libc() -> ctypes.CDLL:
    import ctypes  # 5 ms: only where something is entered

    library = ctypes.CDLL(None, use_errno=True)
    library.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_void_p]
    library.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.setns.argtypes = [ctypes.c_int, ctypes.c_int]
    library.unshare.argtypes = [ctypes.c_int]
    return library


def _call(function: str, *arguments: object) -> None:
    """Call a function of the C library that Python 3.11 has not. Raises OSError."""
    if getattr(_libc(), function)(*arguments):
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
