"""One change to what a plugin keeps: its record and the plugin, each step so that a killed run can be healed."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Protocol, cast

from ...errors import NetapplyError, OperationFailed
from ...plan import Change, Create, Delete, Update
from ...resources import HOST, Delegated
from .. import marks
from ..namespaces import Place
from ..observing import Inventory
from ..steps import Runner, Task
from . import records
from .records import Record

PLUGIN_SAYS = "its plugin says: "
"""How the trouble begins that is a plugin's own word."""


class Speaker(Protocol):
    """How a protocol is spoken: what its module has."""

    def ready(self, wanted: Delegated) -> Delegated:
        """Return what is asked for as it is compared. Raises HostLacks if the plugin is not there or unfit."""

    def make(self, job: Job) -> None:
        """Have the plugin make it. Raises OperationFailed and HostLacks, and then may have made a part of it."""

    def unmake(self, job: Job) -> None:
        """Have the plugin take away whatever there may be of it. Raises OperationFailed and HostLacks."""

    def trouble(self, record: Record, place: Place | None) -> str:
        """Return what the plugin says is wrong with what it made, empty if nothing is, or where it can't be asked."""


def speaker(protocol: str) -> Speaker:
    """Return how a protocol is spoken."""
    return cast("Speaker", import_module(f"{__package__}.{protocol.replace('-', '_')}"))


class Job:
    """A change to one object. `record` is as it is written down; `lenient` after what a plugin has lost or broken."""

    __slots__ = ("inventory", "lenient", "record", "runner")

    def __init__(self, inventory: Inventory, runner: Runner, record: Record, lenient: bool = False) -> None:
        self.inventory, self.runner, self.record, self.lenient = inventory, runner, record, lenient

    @property
    def host(self) -> int:
        return self.inventory.host

    @property
    def project(self) -> str:
        return self.inventory.project

    @property
    def sandbox(self) -> str | None:
        """The name by which the runner knows the namespace that the record is of; None where that is gone.

        A namespace that has taken the place of the old one is another: nothing in it is for the plugin to take away.
        """
        if not self.record.cookie:
            return HOST
        places = self.inventory.places
        by_cookie = (name for name, place in places.items() if place.cookie == self.record.cookie)
        return next(by_cookie, None)

    @property
    def place(self) -> str:
        """The path of that namespace, "" where it is gone."""
        name = self.sandbox
        return self.inventory.places[name].path if name else ""

    def trap(self, doing: str) -> None:
        """Say what comes next; may raise OSError."""
        self.runner.trap(f"{doing} of {self.record.path}")

    @property
    def mark(self) -> str:
        """The alias of the interface that the container gets."""
        return f"{marks.OF_PLUGINS}{self.project}/{self.record.path}"

    def run(self, task: Task) -> None:
        """Run a task to its end. Raises what it fails with."""
        (outcome,) = self.runner.run([task])
        if outcome:
            raise outcome

    def save(self, doing: str, record: Record) -> None:
        self.trap(doing)
        self.record = record
        records.save(self.host, self.project, record)

    def forget(self) -> None:
        self.trap("forget the record")
        records.forget(self.host, self.project, self.record.path)


def make(change: Change, inventory: Inventory, runner: Runner) -> None:
    """Make a change to what a plugin keeps. Raises OSError and NetapplyError."""
    match change:
        case Create(after=Delegated() as wanted):
            _create(wanted, inventory, runner)
        case Delete(before=Delegated() as present):
            _delete(present, inventory, runner)
        case Update(after=Delegated() as wanted, fields=("tags",)):
            job = Job(inventory, runner, _known(inventory, wanted))
            job.save("change the record", job.record._replace(tags=wanted.tags))
        case _:
            raise TypeError(f"{change} is nothing that a plugin can do")


def _create(wanted: Delegated, inventory: Inventory, runner: Runner) -> None:
    record = records.of(wanted, _cookie(wanted, inventory, runner))
    for one in records.load_all(inventory.host, inventory.project):
        if one.path == record.path or (record.interface, record.cookie) == (one.interface or None, one.cookie):
            raise OperationFailed(f"delegated {one.path} is there already (EEXIST)", errno.EEXIST)
    job = Job(inventory, runner, record)
    job.save("begin the record", job.record)
    try:
        speaker(wanted.protocol).make(job)
        job.save("end the record", job.record._replace(made=True))
    except (OSError, NetapplyError) as failure:
        _undo(job, failure)
        raise


def _undo(job: Job, failure: Exception) -> None:
    """Have taken away what a failed plugin may have made. Raises OperationFailed if that fails, too."""
    job.lenient = True
    try:
        speaker(job.record.protocol).unmake(job)
        job.forget()
    except (OSError, NetapplyError) as second:
        raise OperationFailed(f"{failure}\nand undoing it failed: {second}") from failure


def _delete(present: Delegated, inventory: Inventory, runner: Runner) -> None:
    record = _known(inventory, present)
    others = records.load_all(inventory.host, inventory.project) if record.sandbox == HOST else ()
    if left := [one.path for one in others if record.path in one.after]:  # taking it away failed
        raise OperationFailed(f"{present.key} is in use by {', '.join(left)} (EBUSY)", errno.EBUSY)
    job = Job(inventory, runner, record, lenient=not present.healthy)
    if record.made:
        job.save("mark the record", record._replace(made=False))
    else:
        records.idle(inventory.host, inventory.project, record.timeout)
    speaker(record.protocol).unmake(job)
    job.forget()


def _known(inventory: Inventory, one: Delegated) -> Record:
    record = records.load(inventory.host, inventory.project, one.path)
    if record is None:
        raise OperationFailed(f"{one.key} is not there (ENOENT)", errno.ENOENT)
    return record


def _cookie(wanted: Delegated, inventory: Inventory, runner: Runner) -> int:
    """Return the cookie of the namespace in which something is made, and note it where it is not known yet."""
    if wanted.sandbox == HOST:
        return 0
    with runner.inside(wanted.sandbox) as door:
        cookie = door.cookie
    place = inventory.places[wanted.sandbox]
    inventory.places[wanted.sandbox] = place._replace(cookie=cookie)
    return cookie
