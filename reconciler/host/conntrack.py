"""Connections that the kernel tracks: looked through and forgotten, by ctnetlink, in the calling thread's namespace.

A flow keeps the translation that its first packet got. One of UDP that never pauses would go to the old container for
ever, so whoever changes where a port leads has to have its flows forgotten (nf_conntrack_netlink.c; RFC 5382 and 4787
say how long a NAT remembers them).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import NotPermitted, OperationFailed
from .namespaces import RIGHTS

TIMEOUT = 30.0
"""Seconds that looking through all connections may take."""

_NETLINK_NETFILTER = 12
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_* of nfnetlink_conntrack.h
_STATISTICS = 1 << 8 | 5
_ABSENT = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
"""How nfnetlink answers for what it has no subsystem for."""

_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18  # CTA_*
_IP, _PROTO = 1, 2  # CTA_TUPLE_*
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
_SOURCES, _DESTINATIONS = (1, 3), (2, 4)  # CTA_IP_*: IPv4's and IPv6's
_NUMBERS = {6: "tcp", 17: "udp", 132: "sctp"}


class Flow(NamedTuple):
    """A connection: where its first packet was sent, and who answers. Addresses are packed, as `socket.inet_pton` has
    them. `identity` is what deleting it takes."""

    protocol: str
    family: int
    destination: bytes
    port: int
    replier: bytes
    replier_port: int
    identity: bytes

    @property
    def translated(self) -> bool:
        """Whether somebody else answers than was asked."""
        return (self.destination, self.port) != (self.replier, self.replier_port)


def forget(doomed: Callable[[Flow], bool], ports: frozenset[int] | None = None) -> int:
    """Delete the connections to some ports, or to all, that `doomed` picks, and return how many.

    Nothing is done on a kernel that tracks no connections or has no way to say so. Raises OperationFailed.
    """
    found = [flow for flow in flows(ports) if doomed(flow)]
    if not found:
        return 0
    with _opened() as door:
        for flow in found:
            answer = _ask(door, _DELETE, _ACK, flow.family, flow.identity)
            if answer not in (0, errno.ENOENT):  # it has ended by itself
                raise _failed(answer)
    return len(found)


def flows(ports: frozenset[int] | None = None) -> Iterator[Flow]:
    """Yield the connections whose first packet was sent to one of the ports; None: to any."""
    wanted = None if ports is None else {struct.pack(">H", port) for port in ports}
    deadline = time.monotonic() + TIMEOUT
    try:
        with _opened() as door:
            door.sendto(_message(_GET, _DUMP, 0, b""), (0, 0))
            while True:
                if time.monotonic() > deadline:
                    raise OperationFailed("the kernel tells of connections for too long", errno.ETIMEDOUT)
                for kind, body in _messages(door.recv(1 << 17)):
                    if kind == _DONE:
                        return
                    if kind == _ERROR:
                        number = -struct.unpack_from("=i", body)[0]
                        if number in _ABSENT:
                            return  # there is no nf_conntrack_netlink: flows end by their timeouts
                        raise _failed(number)
                    if flow := _flow(body, wanted):
                        yield flow
    except TimeoutError as late:
        raise OperationFailed("the kernel does not tell of connections", errno.ETIMEDOUT) from late
    except OSError as failure:
        raise _failed(failure.errno or 0) from failure


def can_forget() -> bool:
    """Whether the kernel can be told to forget connections: it has nf_conntrack_netlink, which it loads when asked."""
    try:
        with _opened() as door:
            return _ask(door, _STATISTICS, 0, 0, b"") not in _ABSENT
    except OSError:
        return True  # that is not known


def _opened() -> socket.socket:
    door = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    door.settimeout(10)
    return door


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    header = struct.pack("=IHHII", 20 + len(attributes), kind, _REQUEST | flags, 1, 0)
    return header + struct.pack("=BBH", family, 0, 0) + attributes


def _ask(door: socket.socket, kind: int, flags: int, family: int, attributes: bytes) -> int:
    """Send a request and return the errno of its answer."""
    door.sendto(_message(kind, flags, family, attributes), (0, 0))
    for answer, body in _messages(door.recv(1 << 16)):
        if answer == _ERROR:
            return -int(struct.unpack_from("=i", body)[0])
    return 0


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        yield kind, data[offset + 16 : offset + length]
        offset += max(length + 3 & ~3, 16)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += max(length + 3 & ~3, 4)
    return found


def _flow(body: bytes, wanted: set[bytes] | None) -> Flow | None:
    outer = _attributes(body[4:])
    original, reply = _attributes(outer.get(_ORIGINAL, b"")), _attributes(outer.get(_REPLY, b""))
    asked, answers = _attributes(original.get(_PROTO, b"")), _attributes(reply.get(_PROTO, b""))
    protocol = _NUMBERS.get((asked.get(_NUMBER) or b"\0")[0])
    if protocol is None or (wanted is not None and asked.get(_DESTINATION_PORT) not in wanted):
        return None
    addresses, repliers = _attributes(original.get(_IP, b"")), _attributes(reply.get(_IP, b""))
    return Flow(
        protocol,
        body[0],
        next((addresses[kind] for kind in _DESTINATIONS if kind in addresses), b""),
        struct.unpack(">H", asked[_DESTINATION_PORT])[0],
        next((repliers[kind] for kind in _SOURCES if kind in repliers), b""),
        struct.unpack(">H", answers.get(_SOURCE_PORT, b"\0\0"))[0],
        b"".join(_nested(kind, outer[kind]) for kind in (_ORIGINAL, _ID, _ZONE) if kind in outer),
    )


def _nested(kind: int, value: bytes) -> bytes:
    flag = 0x8000 if kind == _ORIGINAL else 0  # NLA_F_NESTED
    return struct.pack("=HH", 4 + len(value), kind | flag) + value + bytes(-len(value) % 4)


def _failed(number: int) -> OperationFailed | NotPermitted:
    if number in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"connections: not permitted; {RIGHTS}")
    return OperationFailed(f"connections: {os.strerror(number)}", number)
