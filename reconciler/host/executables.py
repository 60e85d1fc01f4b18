"""Executables that are drivers: where they are, whether they may be run, and one run of one, with no rights.

What root runs must be root's: every folder on the way to a driver, and the driver, belong to root (or to the caller,
where that is somebody else) and nobody else can write to them. The file is opened step by step without following
symbolic links, checked, and run by the descriptor of what was checked.

A driver computes, so it needs nothing: it gets two pipes, an environment of five variables, the folder "/", a session
and a network namespace of its own, no capability and no way to gain any (no_new_privs), and in place of root the user
netapply, or nobody where there is no user of that name.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from ..errors import DriverError, HostLacks
from .namespaces import in_a_thread, unshare

if TYPE_CHECKING:
    import subprocess

FOLDERS = ("/etc/netapply/drivers", "/usr/local/lib/netapply/drivers", "/usr/lib/netapply/drivers")
"""Where drivers are looked for; of two of one name the first is meant."""

VARIABLE = "NETAPPLY_DRIVER_PATH"
"""Folders to look in ahead of those, with colons between them. They are held to the same rules."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What a driver's file is called: what has a dot (README.md, segment.conf, segment.bak) is none."""

OUTPUT_LIMIT = 16 << 20
STDERR_KEPT = 2000
"""Bytes: of what a driver prints, and of what it complains, the last ones of which are passed on."""

USERS = ("netapply", "nobody")
"""Whom drivers run as when netapply runs as root: the first that the host has."""

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CHUNK = 1 << 16
_NO_NEW_PRIVS, _AMBIENT, _CLEAR_ALL = 38, 47, 4  # PR_* of linux/prctl.h
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3


class Executable(NamedTuple):
    """A driver's file. `identity` changes whenever its content may have."""

    name: str
    path: str
    identity: tuple[int, ...]

    @property
    def label(self) -> str:
        return f"driver {self.name} ({self.path})"


def folders() -> tuple[str, ...]:
    """Return the folders that drivers are looked for in, the first ones first."""
    return (*filter(None, os.environ.get(VARIABLE, "").split(":")), *FOLDERS)


def executables() -> Mapping[str, tuple[Executable, ...]]:
    """Return the files that are drivers by their names, those that are meant first. None is opened or run."""
    found: dict[str, list[Executable]] = {}
    for folder in folders():
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if NAME.fullmatch(entry.name) and not entry.is_dir():
                with suppress(OSError):
                    found.setdefault(entry.name, []).append(_executable(entry.name, entry.path))
    return {name: tuple(files) for name, files in found.items()}


def executable(name: str) -> Executable | None:
    """Return the file that is meant by a driver's name, None if there is none."""
    if NAME.fullmatch(name):
        for folder in folders():
            path = os.path.join(folder, name)
            with suppress(OSError):
                if not os.path.isdir(path):
                    return _executable(name, path)
    return None


def _executable(name: str, path: str) -> Executable:
    """Return the file at a path, a symbolic link as itself. Raises OSError."""
    about = os.lstat(path)
    return Executable(name, path, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))


@contextmanager
def opened(driver: Executable) -> Iterator[int]:
    """Give a descriptor of a driver's file, which root alone (or the caller) can have put there.

    Raises HostLacks, with what is wrong and what mends it.
    """
    parts = driver.path.split("/")[1:]
    if not driver.path.startswith("/") or {"", ".", ".."} & set(parts):
        raise _unfit(driver, "its path is not absolute and plain", f"mend {VARIABLE}")
    descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, part in enumerate(parts, 1):
            try:
                inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except OSError as failure:
                raise _unfit(driver, f"it can't be opened: {failure.strerror}", "see who may") from failure
            os.close(descriptor)
            descriptor = inner
            _demand(driver, "/" + "/".join(parts[:number]), os.fstat(inner), len(parts) - number)
        yield descriptor
    finally:
        os.close(descriptor)


def _demand(driver: Executable, path: str, about: os.stat_result, above: int) -> None:
    """Raise HostLacks if something is not as it must be: the driver itself (0 above it), its folder (1), one higher up.

    Higher up, others may write to a sticky folder such as /tmp: only its owner can rename or remove what is in one.
    """
    trusted = {0, os.geteuid()}
    mode = about.st_mode
    if stat.S_ISLNK(mode):
        raise _unfit(driver, f"{path} is a symbolic link", "put what it leads to in its place")
    if about.st_uid not in trusted:
        mend = f"chown {'root' if trusted == {0} else 'it to root or yourself:'} {path}"
        raise _unfit(driver, f"{path} belongs to the user {about.st_uid}, who could change what is run", mend)
    if mode & _OTHERS_WRITE and not (above > 1 and mode & stat.S_ISVTX):
        raise _unfit(driver, f"others than its owner can write to {path}", f"chmod go-w {path}")
    if above:
        return
    if not stat.S_ISREG(mode):
        raise _unfit(driver, f"{path} is no regular file", "remove it")
    needed = 0o005 if _account() else stat.S_IXUSR  # a script is read by its interpreter
    if mode & needed != needed:
        who = "by everybody, since it runs without root's rights" if _account() else "by you"
        raise _unfit(driver, f"{path} can't be read and executed {who}", f"chmod 755 {path}")


def _unfit(driver: Executable, what: str, mend: str) -> HostLacks:
    return HostLacks(f"{driver.label} is not run: {what}; {mend}")


class Account(NamedTuple):
    """A user and a group, by their numbers."""

    user: int
    group: int


def _account() -> Account | None:
    """Return whom drivers run as; None: as the caller, who is not root or can't become anybody else."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in USERS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid) if _is_mapped(entry.pw_uid) else None
    return None


def _is_mapped(user: int) -> bool:
    """Whether a user exists in this user namespace: in one of a rootless container there may be root alone."""
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        spans = [tuple(map(int, line.split())) for line in stream]
    return any(first <= user < first + count for first, _, count in spans)


# Running


def run(driver: Executable, request: bytes, timeout: float, doing: str) -> bytes:
    """Return what a driver prints when it is given a request. `doing` are words for it, "lower of network front".

    Raises DriverError for one that fails, is too slow (`timeout`: seconds) or prints too much; HostLacks as `opened`.
    """
    import subprocess

    deadline = time.monotonic() + timeout
    with opened(driver) as descriptor:
        try:
            process = in_a_thread(lambda: _started(driver, descriptor))
        except (OSError, subprocess.SubprocessError) as failure:
            mend = "see whether it begins with #! and a program that exists, and everybody may run"
            raise DriverError(f"{driver.label} can't be started: {failure}; {mend}") from failure
    talk = Conversation(process, request)
    try:
        talk.hold(deadline)
    finally:
        talk.end()
    if fault := talk.fault(timeout):
        raise DriverError(f"{driver.label} failed at {doing}: {fault}{_said(talk.complaints)}")
    return bytes(talk.output)


def _started(driver: Executable, descriptor: int) -> subprocess.Popen[bytes]:
    """Start a driver, in a thread of its own: what is given up here, the thread gives up, and the driver inherits."""
    import subprocess

    account = _account()
    with suppress(OSError):  # who may not have one has no rights in the host's either
        unshare()
    _give_up(everything=account is None)
    return subprocess.Popen(
        [driver.path],
        executable=f"/proc/self/fd/{descriptor}",
        pass_fds=(descriptor,),  # an interpreter opens its script by it
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={**_ENVIRONMENT, "NETAPPLY_DRIVER": driver.path},
        start_new_session=True,
        umask=0o077,
        user=account.user if account else None,
        group=account.group if account else None,
        extra_groups=() if account else None,
    )


def _give_up(*, everything: bool) -> None:
    """Have this thread gain no rights by executing anything, and pass no capability on; give up all now, or those only
    that changing the user does not take anyway (capabilities(7))."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; once more for those from 32 up
    failed = libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    failed = failed or libc.capget(header, sets)
    for place in range(6):
        if everything or place % 3 == 2:
            sets[place] = 0
    if failed or libc.capset(header, sets):
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities can't be given up: {os.strerror(number)}")


class Conversation:
    """A request to a running program, and what comes back: `limit` bytes at most."""

    __slots__ = ("complaints", "late", "left", "limit", "output", "process", "too_much")

    def __init__(self, process: subprocess.Popen[bytes], request: bytes, limit: int = OUTPUT_LIMIT) -> None:
        self.process, self.left, self.limit = process, memoryview(request), limit
        self.output, self.complaints = bytearray(), b""
        self.late = self.too_much = False

    def hold(self, deadline: float) -> None:
        """Write the request and read all that is printed, until the driver has ended or must be ended."""
        import selectors

        ended = os.pidfd_open(self.process.pid)
        waiting = selectors.DefaultSelector()
        try:
            waiting.register(ended, selectors.EVENT_READ, self._stop_the_rest)
            for stream, step in zip(self._streams(), (self._write, self._read, self._note), strict=True):
                os.set_blocking(stream.fileno(), False)
                waiting.register(stream, selectors.EVENT_WRITE if step == self._write else selectors.EVENT_READ, step)
            while waiting.get_map() and not (self.late or self.too_much):
                ready = waiting.select(max(0.0, deadline - time.monotonic()))
                self.late = not ready and time.monotonic() >= deadline
                for key, _ in ready:
                    if not key.data(key.fd):
                        waiting.unregister(key.fileobj)
                    if key.fileobj is self.process.stdin and not self.left:
                        # not before: a child that another thread starts has a copy, and epoll would tell of that
                        self.process.stdin.close()
        finally:
            os.close(ended)
            waiting.close()

    def end(self) -> None:
        """Kill what still runs of the driver's session, and let go of it."""
        self._stop_the_rest()
        for stream in self._streams():
            stream.close()
        self.process.wait()

    def fault(self, timeout: float) -> str:
        """Return what is wrong with how the driver ended, empty where nothing is."""
        code = self.process.returncode
        if self.too_much:
            return f"it printed more than {self.limit >> 20} MiB"
        if self.late:
            return f"it had not ended after {timeout:g} s"
        if code < 0:
            name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
            return f"it was killed by {name}"
        return f"it ended with exit code {code}" if code else ""

    def _streams(self) -> tuple[IO[bytes], ...]:
        streams = (self.process.stdin, self.process.stdout, self.process.stderr)
        return tuple(stream for stream in streams if stream is not None)

    # Each says whether there is more to come.

    def _stop_the_rest(self, _: int = 0) -> bool:
        """Kill all of the driver's session, which has ended by itself or must: what it started would hold the pipes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return False

    def _write(self, descriptor: int) -> bool:
        try:
            self.left = self.left[os.write(descriptor, self.left[:_CHUNK]) :]
        except BrokenPipeError:
            self.left = self.left[:0]
        return bool(self.left)

    def _read(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK)
        self.output += chunk
        self.too_much = len(self.output) > self.limit
        return bool(chunk)

    def _note(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK)
        self.complaints = (self.complaints + chunk)[-STDERR_KEPT:]
        return bool(chunk)


def _said(complaints: bytes) -> str:
    """Return the last of what a driver printed on standard error, as lines of a message."""
    text = complaints[-STDERR_KEPT:].decode("utf-8", "replace").strip()
    lines = ["".join(sign if sign.isprintable() else " " for sign in line) for line in text.splitlines()]
    return "".join(f"\n  its standard error: {line}" for line in lines if line.strip())
