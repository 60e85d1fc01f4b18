"""Making and deleting the namespaces of containers, and keeping deleted ones until that can't be regretted any more."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial

from ..errors import NetapplyError, OperationFailed
from ..resources import Netns
from . import marks, namespaces, rtnetlink
from .doors import Doors
from .looking import inodes_of_processes
from .namespaces import Place, Trap, refuse
from .netlink import Socket
from .observing import HALF_MADE, Inventory
from .steps import failure

MANY = 32
"""From how many namespaces on a second thread makes, or deletes, half of them."""


class Sandboxes:
    """The namespaces that one host made and deleted. `home` is a descriptor of the host's own."""

    def __init__(self, home: int, trap: Trap) -> None:
        self._home, self._trap = home, trap
        self.doors = Doors(home)
        self._held: dict[str, int] = {}
        self._kept: list[int] = []
        self.inventory = Inventory("", 0)

    def create(self, wanted: Sequence[Netns]) -> list[NetapplyError | None]:
        """Make namespaces, or put back those that were deleted. Each is marked before it has a name.

        Many are made by two threads: the kernel works longest, and on two at a time.
        """
        try:
            namespaces.prepare_names(self._trap)
        except OSError as refused:
            return [refuse(refused, namespaces.NAMES)] * len(wanted)
        return self._side_by_side(wanted, self._create)

    def _side_by_side(self, several: Sequence[Netns], act: Callable[[Netns], None]) -> list[NetapplyError | None]:
        half = len(several) // 2 if len(several) >= MANY else 0
        parts = [part for part in (several[:half], several[half:]) if part]
        outcomes = namespaces.side_by_side(*(partial(self._in_turn, part, act) for part in parts))
        return [outcome for part in outcomes for outcome in part]

    def _in_turn(self, several: Sequence[Netns], act: Callable[[Netns], None]) -> list[NetapplyError | None]:
        outcomes: list[NetapplyError | None] = []
        with namespaces.back_to(self._home):
            for netns in several:
                try:
                    act(netns)
                    outcomes.append(None)
                except OSError as refused:
                    outcomes.append(refuse(refused, f"namespace {_name(netns)}"))
                except NetapplyError as error:
                    outcomes.append(error)
        return outcomes

    def _create(self, netns: Netns) -> None:
        """Make one and leave the thread in it. Raises OSError and NetapplyError."""
        name = _name(netns)
        if netns.adopted or not netns.reference.startswith("netns:"):
            raise OperationFailed(f"container {netns.sandbox} has no namespace: {netns.reference}", errno.ENOENT)
        mark = marks.sandbox_alias(self.inventory.project, netns.sandbox, self.inventory.host)
        if name in self._held:
            namespaces.claim(name, mark, self._trap)
            namespaces.bind(f"/proc/thread-self/fd/{self._held[name]}", name, self._trap)
            os.close(self._held.pop(name))
            self.inventory.places[netns.sandbox] = Place(namespaces.path_of(name))
            return
        self._trap(f"make namespace {name}")
        namespaces.unshare()
        door = Socket()
        try:
            body = rtnetlink.link(index=rtnetlink.LOOPBACK, alias=mark, up=netns.loopback_up)
            self._trap(f"mark namespace {name}")
            (answer,) = door.send([rtnetlink.set_link(body)])
            if answer.errno:
                raise failure(f"lo of namespace {name}", answer)
            place = Place(namespaces.path_of(name), door.cookie)
            namespaces.claim(name, mark, self._trap)
            namespaces.bind("/proc/thread-self/ns/net", name, self._trap)
        except BaseException:
            door.close()
            raise
        self.inventory.places[netns.sandbox] = place
        if not self.doors.keep(netns.sandbox, place, door):
            door.close()

    def delete(self, doomed: Sequence[Netns]) -> list[NetapplyError | None]:
        """Take namespaces' names away and keep the namespaces. One with processes in it is left alone (EBUSY).

        Many go by two threads: for each, the kernel waits until nobody can be looking at its name any more.
        """
        lived_in = inodes_of_processes()
        return self._side_by_side(doomed, partial(self._delete, lived_in=lived_in))

    def _delete(self, netns: Netns, lived_in: dict[int, int]) -> None:
        name = _name(netns)
        if netns.adopted or not netns.reference.startswith("netns:"):
            raise OperationFailed(f"namespace {netns.reference} is not ours to delete (EBUSY)", errno.EBUSY)
        if netns.sandbox.startswith(HALF_MADE):
            namespaces.remove_name(name, self._trap)
            return
        place = self.inventory.places.get(netns.sandbox, Place(namespaces.path_of(name)))
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_ino in lived_in:
                raise OperationFailed(f"processes live in namespace {name} (EBUSY)", errno.EBUSY)
            namespaces.setns(descriptor)
            with Socket(looking=True) as door:
                if place.cookie not in (None, door.cookie):
                    raise OperationFailed(f"namespace {name} has become another one meanwhile", errno.ESTALE)
            namespaces.remove(name, self._trap)
        except BaseException:
            os.close(descriptor)
            raise
        self._held[name] = descriptor

    def keep(self, pid: int) -> None:
        """Keep the namespace of a process that is about to end, if there is no other way into it: what is in there must
        not go before its turn, nor before that can't be regretted any more."""
        path = f"/proc/{pid}/ns/net"
        for sandbox, place in self.inventory.places.items():
            if place.path == path:
                self._kept.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                self.inventory.places[sandbox] = Place(f"/proc/self/fd/{self._kept[-1]}", place.cookie)

    @property
    def kept(self) -> tuple[str, ...]:
        """The ways into what was kept."""
        return tuple(f"/proc/self/fd/{descriptor}" for descriptor in self._kept)

    def release(self) -> None:
        """Let the deleted namespaces go, those that were kept, and the ways into all others."""
        self.doors.close()
        for descriptor in (*self._held.values(), *self._kept):
            os.close(descriptor)
        self._held.clear()
        self._kept.clear()


def _name(netns: Netns) -> str:
    return netns.reference.removeprefix("netns:")
