"""Docker's plugins: HTTP over a unix socket, JSON both ways. https://docs.docker.com/engine/extend/plugin_api/"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

from ...errors import HostLacks, OperationFailed
from . import trust

SOCKETS = "/run/docker/plugins"
SPECS = ("/etc/docker/plugins", "/usr/lib/docker/plugins")
"""Where plugins are looked for: sockets first, then files that say where the socket is."""

OUTPUT_LIMIT = 1 << 20
"""Bytes of an answer; usual ones have some hundred."""

_MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json"


class Refusal(OperationFailed):
    """A plugin answered that it failed."""


def found(name: str) -> str:
    """Return the socket of a plugin. Raises HostLacks if there is none, or none of this host."""
    for path in (f"{SOCKETS}/{name}.sock", f"{SOCKETS}/{name}/{name}.sock"):
        if os.path.exists(path):
            return _trusted(name, path)
    for path in _specs(name):
        if os.path.exists(path):
            return _trusted(name, _address(name, _trusted(name, path)))
    mend = "start it; its socket belongs there, or a file that says where it is into /etc/docker/plugins"
    raise HostLacks(f"there is no Docker plugin {name} in {SOCKETS}; {mend}")


def _specs(name: str) -> Iterator[str]:
    for folder in SPECS:
        for ending in ("spec", "json"):
            yield from (f"{folder}/{name}.{ending}", f"{folder}/{name}/{name}.{ending}")


def _trusted(name: str, path: str) -> str:
    trust.demand(path, f"Docker plugin {name} ({path})")
    return path


def _address(name: str, path: str) -> str:
    """Return the socket that a .spec or .json file names. Raises HostLacks for any other address."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(4096).strip()
        address = str(json.loads(text)["Addr"]) if path.endswith(".json") else text
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise HostLacks(f"Docker plugin {name}: {path} says no address ({failure!r}); mend it") from failure
    if not address.startswith("unix:///"):
        what = f"Docker plugin {name}: {path} says {address[:60]!r}, and netapply speaks to unix sockets alone"
        raise HostLacks(f"{what}; have the plugin listen on one, as unix:///run/docker/plugins/{name}.sock")
    return address.removeprefix("unix://")


class _Connection(HTTPConnection):
    """A connection to a unix socket. `handle` is the socket, which it forgets itself once a plugin says that it will
    close, though the answer is still to be read."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("plugin", timeout=timeout)
        self._path = path
        self.handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)

    def connect(self) -> None:
        self.sock = self.handle
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(name: str, method: str, body: Mapping[str, Any] | None, timeout: float) -> dict[str, Any]:
    """Return what a plugin answers.

    Raises Refusal for an error of its own, OperationFailed if it is too slow (`timeout`: seconds for all of it), says
    too much or what is no answer, and HostLacks if there is none.
    """
    path = found(name)
    label = f"Docker plugin {name} ({path}) failed at {method}: "
    connection = _Connection(path, timeout)
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):
            connection.handle.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(timeout, cut)  # the socket's own timeout is for each single piece of an answer
    watch.start()
    try:
        payload = b"" if body is None else json.dumps(body).encode()
        connection.connect()
        if late.is_set():  # too early to be cut
            raise TimeoutError
        connection.request("POST", f"/{method}", payload, {"Accept": _MEDIA_TYPE, "Content-Type": "application/json"})
        response = connection.getresponse()
        status, answer = response.status, response.read(OUTPUT_LIMIT + 1)
    except (OSError, HTTPException) as failure:
        if late.is_set() or isinstance(failure, TimeoutError):
            raise OperationFailed(f"{label}it had not answered after {timeout:g} s") from failure
        if isinstance(failure, ConnectionRefusedError | FileNotFoundError):
            raise HostLacks(f"Docker plugin {name} does not listen on {path}; start it") from failure
        raise OperationFailed(f"{label}{failure!r}") from failure
    finally:
        watch.cancel()
        watch.join()  # before its socket's number can be another's
        connection.close()
        connection.handle.close()
    if late.is_set():
        raise OperationFailed(f"{label}it had not answered after {timeout:g} s")
    if len(answer) > OUTPUT_LIMIT:
        raise OperationFailed(f"{label}its answer has more than {OUTPUT_LIMIT >> 20} MiB")
    return _meant(label, status, answer)


def _meant(label: str, status: int, answer: bytes) -> dict[str, Any]:
    """Return the answer, parsed. An error is told by its Err, whatever the status is."""
    try:
        found = json.loads(answer or b"{}")
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("Err"):
        raise Refusal(label + _plain(str(found["Err"])))
    if status != 200:
        raise Refusal(f"{label}HTTP status {status}, {_plain(answer[:200].decode('utf-8', 'replace'))}")
    if not isinstance(found, dict):
        raise OperationFailed(f"{label}its answer is no JSON object, but {answer[:60]!r}")
    return found


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()
