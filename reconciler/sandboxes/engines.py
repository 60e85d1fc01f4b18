"""Asking container engines over their unix sockets: HTTP and JSON, with limits on time and size.

https://docs.docker.com/reference/api/engine/ and https://docs.podman.io/en/latest/_static/api.html
"""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

from ..networks import SandboxRef
from . import Found, Pending, is_believed, process

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PATIENCE = 4.0
"""Seconds within which one engine must have answered everything, and ANSWER, a part of them, one question: systemd may
have to start it first."""

ANSWER = 3.0

MOST = 64 << 20
"""Bytes of an answer; 1000 containers take two million."""


class Silent(Exception):
    """The engine can't be asked, or gives no answer that could be one; the message says why."""


class Missing(Exception):
    """The engine answered, and knows no such thing."""


class Engine:
    """A connection to an engine. `name` is for people, and so is how to `start` it; `path` is that of its socket.

    Raises Silent for all that goes wrong, when it is made too. What it answered is nobody's word but its own: whoever
    asks must look whether it can be used.
    """

    def __init__(self, name: str, path: str, deadline: float, start: str = "start it") -> None:
        self._start = start
        self._label = f"{name} ({path})"
        self._deadline = min(deadline, time.monotonic() + PATIENCE)
        self._connection = _Connection(path)
        with self._complaints():
            self._connection.until = min(self._deadline, time.monotonic() + ANSWER)
            self._connection.connect()

    def close(self) -> None:
        self._connection.close()

    def headers(self, path: str) -> Mapping[str, str]:
        """Return the headers of an answer, their names in small letters."""
        with self._complaints():
            response = self._get(path)
            response.read(4096)
            return {name.lower(): value for name, value in response.getheaders()}

    def get(self, path: str) -> Any:
        """Return the JSON at a path. Raises Missing too, where the engine knows no such thing (404)."""
        with self._complaints():
            response = self._get(path)
            body = response.read(MOST + 1)
            if len(body) > MOST:
                raise Silent(f"its answer has more than {MOST >> 20} MiB")
            if response.status == 404:
                raise Missing
            if response.status != 200:
                raise Silent(f"it answers with the HTTP status {response.status}: {_plain(body)}")
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                raise Silent(f"its answer is no JSON, but {_plain(body)!r}") from None

    def process(self, name: str, pid: int, asked: int) -> Found | Pending:
        """Return where a container is whose process the engine says that this is."""
        user = self._connection.user
        if not is_believed(user, pid):
            what = f"is of user {user}, and gives for {name} a process in a namespace of somebody else's"
            return Pending(f"{self._label} {what}")
        return process(pid, asked)

    def _get(self, path: str) -> HTTPResponse:
        self._connection.until = min(self._deadline, time.monotonic() + ANSWER)
        self._connection.request("GET", path, headers={"Accept": "application/json"})
        return self._connection.getresponse()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turn whatever goes wrong into Silent. The connection is then made anew by the next question."""
        try:
            yield
        except Silent as failure:
            self._connection.close()
            raise Silent(f"{self._label}: {failure}") from None
        except (OSError, HTTPException, ValueError) as failure:
            self._connection.close()
            mend = f"; {self._start}, or say where its socket is" if isinstance(failure, FileNotFoundError) else ""
            raise Silent(f"{self._label} {_what(failure)}{mend}") from failure


class _Connection(HTTPConnection):
    """A connection to a unix socket. `until`: when (`time.monotonic`) everything must have been said; `user`: who
    listens there, this time."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path
        self.until = 0.0
        self.user = -1

    def connect(self) -> None:
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock = _Timed(handle, self)
        handle.settimeout(_left(self.until))
        handle.connect(self._path)
        self.user = _listener(handle)


class _Timed:
    """A socket as HTTPConnection uses one, which has one end for all that is sent and received: a socket's own timeout
    is for each single piece."""

    def __init__(self, handle: socket.socket, connection: _Connection) -> None:
        self._handle, self._connection = handle, connection

    def sendall(self, data: bytes) -> None:
        self._handle.settimeout(_left(self._connection.until))
        self._handle.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        # a copy: once an engine says that it will close, HTTPConnection does, before the answer is read
        return io.BufferedReader(_Incoming(self._handle.dup(), self._connection))

    def close(self) -> None:
        self._handle.close()


class _Incoming(io.RawIOBase):
    """What comes in by a socket, which is closed with it."""

    def __init__(self, handle: socket.socket, connection: _Connection) -> None:
        super().__init__()
        self._handle, self._connection = handle, connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._handle.settimeout(_left(self._connection.until))
        return self._handle.recv_into(buffer)

    def close(self) -> None:
        self._handle.close()
        super().close()


def _left(until: float) -> float:
    """Return the seconds that are left. Raises TimeoutError when there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _listener(handle: socket.socket) -> int:
    """Return the user who listens at the other end.

    Raises Silent for an engine that counts processes in another PID namespace: its numbers mean others here.
    SO_PEERCRED has the number that it has in our own namespace, 0 where it has none (unix(7), pid_namespaces(7)).
    """
    pid, user, _ = struct.unpack("3i", handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    with suppress(PermissionError, FileNotFoundError):  # it is not ours to see; it has ended, and others answer for it
        if pid and os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid"):
            return int(user)
        raise Silent("it is in another PID namespace; run netapply where its containers' processes can be seen")
    return int(user)


def _what(failure: Exception) -> str:
    match failure:
        case FileNotFoundError():
            return "is not there"
        case ConnectionRefusedError():
            return "does not run: nobody listens on its socket"
        case PermissionError():
            return "may not be asked by this user"
        case TimeoutError():
            return f"did not answer within {ANSWER:g} s"
        case OSError(strerror=str(words)):
            return f"can't be asked: {words}"
        case _:
            return f"gives no answer that could be read: {_plain(repr(failure).encode())}"


def _plain(text: bytes) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text[:200].decode("utf-8", "replace")).strip()


def socket_of(references: Sequence[SandboxRef], variable: str, default: str) -> str:
    """Return the path of the socket that these references, which all name the same, mean. Raises Silent."""
    if given := references[0].detail("socket"):
        return given
    address = os.environ.get(variable, "")
    if not address:
        return default
    if not address.startswith("unix:///"):
        raise Silent(f"{variable} is {_plain(address.encode())}, and netapply asks engines of its own host alone")
    return address.removeprefix("unix://")
