"""Servers in the containers of a service, that say who they are and whom they see: for tests of load balancing."""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.isolation import inside
from tests.machine import PATIENCE, Machine


@dataclass
class Servers:
    """Listening sockets by container; each connection is answered by the one that gets it, in the calling thread."""

    host: Machine
    listeners: dict[str, socket.socket]
    kind: int
    within: float = 10 * PATIENCE
    """Seconds for a connection, and for its answer; only what is lost takes so long."""

    def connect(self, client: str, address: str, port: int, source: str = "") -> tuple[str, str] | None:
        """Connect from a container: who serves, and which address it sees. None: refused, or no answer."""
        served = self.serve(client, address, port, source)
        if served is None:
            return None
        connection, name, peer = served
        connection.close()
        return name, peer

    def serve(self, client: str, address: str, port: int, source: str = "") -> tuple[socket.socket, str, str] | None:
        """Connect, and return the client's socket, who serves, and which address it sees."""
        with inside(client):
            sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, self.kind)
        sender.settimeout(self.within)
        try:
            if source:
                sender.bind((source, 0))
            sender.connect((address, port))
            if self.kind == socket.SOCK_DGRAM:
                sender.send(b"hello")
            ready, _, _ = select.select(list(self.listeners.values()), [], [], self.within)
            if not ready:
                sender.close()
                return None
            name = next(name for name, one in self.listeners.items() if one is ready[0])
            peer = self._answer(ready[0], name)
            if sender.recv(64) != name.encode():
                raise AssertionError(f"{name} served {client}, and somebody else answered")
        except OSError:
            sender.close()
            return None
        return sender, name, peer

    def _answer(self, listener: socket.socket, name: str) -> str:
        if self.kind == socket.SOCK_DGRAM:
            _, peer = listener.recvfrom(64)
            listener.sendto(name.encode(), peer)
            return str(peer[0])
        accepted, peer = listener.accept()
        with accepted:
            accepted.sendall(name.encode())
        return str(peer[0])

    def spread(self, client: str, address: str, port: int, times: int) -> Counter[str]:
        """Connect so many times, and count who serves."""
        found = (self.connect(client, address, port) for _ in range(times))
        return Counter(one[0] if one else "nobody" for one in found)


@contextmanager
def servers(
    host: Machine, names: Sequence[str], port: int, *, ipv6: bool = False, kind: int = socket.SOCK_STREAM
) -> Iterator[Servers]:
    """Have the containers listen at a port while the block runs."""
    with ExitStack() as stack:
        anywhere = "::" if ipv6 else "0.0.0.0"
        found = {name: stack.enter_context(host.socket(name, anywhere, port, kind)) for name in names}
        for one in found.values():
            if kind == socket.SOCK_STREAM:
                one.listen(128)
        yield Servers(host, found, kind)
