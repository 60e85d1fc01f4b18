"""A small DNS client, and a server that notes what it is asked: RFC 1035, as much of it as the tests need."""

from __future__ import annotations

import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from .isolation import inside
from .machine import PATIENCE, Machine

KINDS = {"A": 1, "PTR": 12, "MX": 15, "AAAA": 28}
CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}

OWN = "127.0.0.11"
"""Where a container's own resolver is."""


class Answer(NamedTuple):
    """What came back: the code in words ("" for nothing in time), and the values in the order in which they came."""

    code: str
    values: tuple[str, ...] = ()
    ttl: int = 0


def question(name: str, kind: str) -> bytes:
    """Return a query with recursion desired."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!2sHHHHH", os.urandom(2), 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, KINDS[kind], 1)


def ask(
    netns: str, server: str, name: str, kind: str = "A", *, tcp: bool = False, port: int = 53, within: float = 5.0
) -> Answer:
    """Ask a server from within a namespace."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with inside(netns):
        handle = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    query = question(name, kind)
    with handle:
        handle.settimeout(within * PATIENCE)
        try:
            handle.connect((server, port))
            if not tcp:
                handle.send(query)
                return parsed(handle.recv(65536), query)
            handle.sendall(struct.pack("!H", len(query)) + query)
            stream = handle.makefile("rb")
            (length,) = struct.unpack("!H", stream.read(2))
            return parsed(stream.read(length), query)
        except (OSError, struct.error):
            return Answer("")


def check_found(netns: str, name: str, *addresses: str) -> None:
    """See that the resolver in a namespace tells the addresses of a name, and the name of each; by UDP and TCP."""
    for tcp in (False, True):
        for address in addresses:
            kind = "AAAA" if ":" in address else "A"
            assert ask(netns, OWN, name, kind, tcp=tcp).values == (address,)
            assert ask(netns, OWN, ip_address(address).reverse_pointer, "PTR", tcp=tcp).values == (name,)


def parsed(answer: bytes, query: bytes) -> Answer:
    """Return what an answer to a query says."""
    assert answer[:2] == query[:2]
    code, (count,) = answer[3] & 15, struct.unpack_from("!H", answer, 6)
    place, values, least = len(query), [], 0
    for _ in range(count):
        _, place = _name(answer, place)
        kind, _, ttl, length = struct.unpack_from("!HHIH", answer, place)
        place, least = place + 10, ttl
        payload = answer[place : place + length]
        if kind == KINDS["PTR"]:
            values.append(_name(answer, place)[0])
        elif kind in (KINDS["A"], KINDS["AAAA"]):
            values.append(socket.inet_ntop(socket.AF_INET if kind == KINDS["A"] else socket.AF_INET6, payload))
        place += length
    return Answer(CODES.get(code, str(code)), tuple(values), least)


def _name(message: bytes, place: int) -> tuple[str, int]:
    """Return a name, and where it ends; it may go on elsewhere (RFC 1035, 4.1.4)."""
    labels: list[str] = []
    while length := message[place]:
        if length >= 0xC0:
            (target,) = struct.unpack_from("!H", message, place)
            return ".".join([*labels, _name(message, target & 0x3FFF)[0]]), place + 2
        labels.append(message[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels), place + 1


@dataclass
class Upstream:
    """A server at an address of a namespace. It answers A with `value`, and notes the names that it is asked for."""

    machine: Machine
    netns: str
    address: str
    value: str = "192.0.2.99"
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Upstream:
        self._socket = self.machine.socket(self.netns, self.address, 53, socket.SOCK_DGRAM)
        self._socket.settimeout(0.1)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while not self._ending.is_set():
            try:
                query, client = self._socket.recvfrom(65536)
            except TimeoutError:
                continue
            name, end = _name(query, 12)
            self.asked.append(name)
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + query[12 : end + 4]
            record = struct.pack("!HHHIH", 0xC00C, KINDS["A"], 1, 60, 4) + socket.inet_aton(self.value)
            self._socket.sendto(head + record, client)
