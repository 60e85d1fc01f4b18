"""Records of what plugins were asked for: one file each, replaced as a whole, readable by root alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ...errors import HostLacks
from ...naming import digest
from ...resources import HOST, Delegated
from ..locking import DIRECTORY
from . import folder

_ENDING = ".json"


class Record(NamedTuple):
    """What a plugin was asked for, and what came of it.

    The first fields are those of `resources.Delegated`. `cookie` is that of the namespace it acts in, 0 for the host's.
    `made` is False from before the plugin is called until it is done, and again from before it is called to take it
    away. `result` is what the plugin answered, in its protocol's form.
    """

    path: str
    protocol: str
    sandbox: str
    request: str
    interface: str
    after: tuple[str, ...]
    tags: tuple[str, ...]
    cookie: int
    made: bool = False
    result: Mapping[str, Any] | None = None
    addresses: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """The request, parsed."""
        found: dict[str, Any] = json.loads(self.request)
        return found

    def tag(self, name: str, default: str = "") -> str:
        """Return the value of a tag "NAME=VALUE"."""
        return next((tag[len(name) + 1 :] for tag in self.tags if tag.startswith(f"{name}=")), default)

    @property
    def timeout(self) -> float:
        """Seconds that one call of the plugin may take."""
        return float(self.tag("timeout", "30"))

    def resource(self, sandbox: str, trouble: str) -> Delegated:
        return Delegated(
            self.path,
            self.protocol,
            sandbox,
            self.request,
            self.interface,
            not trouble,
            self.after,
            self.tags,
            self.addresses,
            trouble,
        )


def of(wanted: Delegated, cookie: int) -> Record:
    """Return the record of what is about to be made. Its sandbox is the container's, by whatever name it goes now."""
    return Record(
        wanted.path,
        wanted.protocol,
        wanted.path.rpartition("/")[0],
        wanted.request,
        wanted.interface,
        wanted.after,
        wanted.tags,
        cookie if wanted.sandbox != HOST else 0,
    )


def load(host: int, project: str, path: str) -> Record | None:
    """Return the record of a path, None if there is none. Raises HostLacks for one that can't be read."""
    return _read(_file(host, project, path))


def load_all(host: int, project: str) -> list[Record]:
    """Return a project's records, those of networks first. Raises HostLacks for one that can't be read."""
    inside = folder(host, project)
    with suppress(FileNotFoundError):
        names = sorted(name for name in os.listdir(inside) if name.endswith(_ENDING))
        found = [one for name in names if (one := _read(f"{inside}/{name}"))]
        return sorted(found, key=lambda one: ("/" in one.path, one.path))
    return []


def of_all_hosts(project: str) -> Iterator[Record]:
    """Yield a project's records of every host that shares /run/netapply: namespaces that are hosts."""
    for name in sorted(os.listdir(DIRECTORY)):
        if name.startswith("plugins-"):
            yield from load_all(int(name.removeprefix("plugins-")), project)


def save(host: int, project: str, record: Record) -> None:
    """Write a record, in one step. Raises OSError."""
    name = _file(host, project, record.path)
    os.makedirs(os.path.dirname(name), mode=0o700, exist_ok=True)
    draft = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(record._asdict(), file, ensure_ascii=False)
    os.replace(f"{name}.new", name)


def forget(host: int, project: str, path: str) -> None:
    """Remove a record, and the folders with the last one. Raises OSError."""
    os.unlink(_file(host, project, path))
    with suppress(OSError):
        os.rmdir(folder(host, project))
        os.rmdir(os.path.dirname(folder(host, project)))


@contextmanager
def held(host: int, project: str) -> Iterator[int]:
    """Give a descriptor that a plugin inherits: while one has it open, `idle` knows that one is still at work."""
    import fcntl

    descriptor = os.open(folder(host, project), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def idle(host: int, project: str, timeout: float) -> bool:
    """Whether no plugin is at work that a killed run started, waiting so many seconds at most for it to end."""
    import fcntl
    import time

    descriptor = os.open(folder(host, project), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + timeout
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)  # flock(2) can't be told how long to wait
    finally:
        os.close(descriptor)


def _file(host: int, project: str, path: str) -> str:
    """Return a record's file; names of containers and networks together can be longer than that of a file."""
    return f"{folder(host, project)}/{digest(path).hex()}{_ENDING}"


def _read(name: str) -> Record | None:
    try:
        with open(name, encoding="utf-8") as file:
            found = json.load(file)
        lists = {key: tuple(found[key]) for key in ("after", "tags", "addresses")}
        return Record(**{**found, **lists})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as failure:
        mend = "remove it, and what its plugin made"
        raise HostLacks(f"{name} can't be read as a record of what a plugin made ({failure!r}); {mend}") from failure
