"""Sockets into sandboxes, kept open while changes are made.

A netlink socket acts in the namespace in which it was opened, whoever uses it from where. To enter a namespace, open
one and return takes several times as long as what is asked for by it then; so that is done once for each sandbox, not
for its namespace, its links and its addresses again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import namespaces
from .namespaces import Place
from .netlink import Socket


class Doors:
    """The sockets, by sandbox. `home` is a descriptor of the host's namespace.

    No more are kept than a quarter of the files that this process may open: a namespace that was deleted is kept open,
    too, until nobody can want it back. A kept socket keeps its namespace alive, until `close`.
    """

    def __init__(self, home: int) -> None:
        self._home = home
        self._kept: dict[str, tuple[Place, Socket]] = {}
        self._most = 0

    @contextmanager
    def into(self, sandbox: str, place: Place) -> Iterator[Socket]:
        """Give the socket into a sandbox, which is at that place now. Raises OperationFailed, NotPermitted."""
        kept = self._kept.get(sandbox)
        if kept and kept[0] == place:
            yield kept[1]
            return
        door = namespaces.door_to(place, self._home)
        if self.keep(sandbox, place, door):
            yield door
        else:
            with door:
                yield door

    def keep(self, sandbox: str, place: Place, door: Socket) -> bool:
        """Keep a socket that is open; False where there are too many, and whoever opened it has to close it."""
        self._most = self._most or namespaces.descriptor_limit() // 4
        former = self._kept.pop(sandbox, None)
        if former:
            former[1].close()
        if len(self._kept) >= self._most:
            return False
        self._kept[sandbox] = (place, door)
        return True

    def close(self) -> None:
        """Close them all."""
        for _, door in self._kept.values():
            door.close()
        self._kept.clear()
