"""Who has which port of the host: processes that listen, by sock_diag, and other projects, by their tables.

Asks in the calling thread's network namespace (linux/inet_diag.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

from ..errors import HostLacks, NotPermitted, OperationFailed
from ..firewall import FAMILY, owner_of
from ..firewall.ports import published
from ..resources import GUARD_TABLE
from . import Listener, namespaces, nft

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _ERROR, _DONE = 20, 2, 3  # linux/sock_diag.h, linux/netlink.h
_REQUEST, _DUMP = 1, 0x300
_PROTOCOLS = {"tcp": (6, 1 << 10), "udp": (17, 1 << 7), "sctp": (132, 1 << 10)}  # numbers, and the states of listening
_V6ONLY = 11  # INET_DIAG_SKV6ONLY
_ANY = {4: "0.0.0.0", 6: "::"}
_GETTABLE = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_UNSEEN = "a process that can't be seen"


class _Socket(NamedTuple):
    protocol: str
    address: str
    port: int
    inode: int
    ifindex: int = 0


class _Untold(Exception):
    """The kernel does not know what it is asked for."""


def listening(project: str, wanted: Collection[tuple[str, int]]) -> tuple[Listener, ...]:
    """Return the ports that are taken, the project's own publications aside.

    Of those that are `wanted`, by protocol and port, it is found out which process has them.
    """
    return (*processes(wanted), *of_projects(project, _tables()))


def processes(wanted: Collection[tuple[str, int]]) -> list[Listener]:
    """Return the ports that processes listen at; of those that are `wanted` it is found out which process has them."""
    found: list[_Socket] = []
    for protocol in _PROTOCOLS:
        with suppress(_Untold):
            found += _sockets(protocol)
    inodes = {one.inode for one in found if (one.protocol, one.port) in wanted}
    holders = _holders(inodes) if inodes else {}
    return [Listener(one.protocol, one.address, one.port, holders.get(one.inode, _UNSEEN)) for one in found]


def within(home: int, places: Mapping[str, namespaces.Place | None]) -> dict[str, dict[str, Sequence[Listener]]]:
    """Return what listens in namespaces, by their names and by protocol, with who it is. `home` is the host's, as None.

    A namespace that can't be looked into is left out, and so is a protocol of which the kernel does not tell.
    """
    found: dict[str, dict[str, list[Listener]]] = {}
    inodes: dict[str, dict[str, list[int]]] = {}
    for name, place in places.items():
        with suppress(OperationFailed, NotPermitted), namespaces.entered(place, home) if place else nullcontext():
            found[name], inodes[name] = {}, {}
            for protocol in _PROTOCOLS:
                with suppress(_Untold):
                    sockets = list(_sockets(protocol))
                    inodes[name][protocol] = [one.inode for one in sockets]
                    found[name][protocol] = [
                        Listener(one.protocol, one.address, one.port, "", _link(one.ifindex)) for one in sockets
                    ]
    holders = _holders({inode for some in inodes.values() for each in some.values() for inode in each})
    return {
        name: {
            protocol: [
                one._replace(who=holders.get(inode, _UNSEEN))
                for one, inode in zip(some, inodes[name][protocol], strict=True)
            ]
            for protocol, some in its.items()
        }
        for name, its in found.items()
    }


def _link(ifindex: int) -> str:
    """Return the name of the link that a socket is bound to, in this thread's namespace; "" for none."""
    with suppress(OSError):
        return socket.if_indextoname(ifindex) if ifindex else ""
    return f"number {ifindex}"


def of_projects(project: str, texts: Iterable[str]) -> Iterator[Listener]:
    """Yield what other projects publish, by the texts of their tables."""
    for text in texts:
        if (owner := owner_of(text)) and owner != project:
            for one in published(text):
                address = one.host_ip or _ANY[one.family]
                yield Listener(one.protocol, address, one.port, f"{one.owner} of project {owner}")


def ephemeral() -> tuple[int, int]:
    """Return the first and the last port that the host takes for connections of its own."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low, high = map(int, file.read().split())
    except (OSError, ValueError):
        return 32768, 60999  # the kernel's default
    return low, high


def _sockets(protocol: str) -> Iterator[_Socket]:
    """Yield the sockets that take whatever comes to their port. Raises _Untold for what the kernel has not."""
    number, states = _PROTOCOLS[protocol]
    for family in (socket.AF_INET, socket.AF_INET6):
        request = struct.pack("=BBBxI48x", family, number, 0, states)
        for body in _dump(_NETLINK_SOCK_DIAG, _BY_FAMILY, request):
            port = struct.unpack_from(">H", body, 4)[0]
            packed = body[8:12] if family == socket.AF_INET else body[8:24]
            ifindex, inode = struct.unpack_from("=I", body, 40)[0], struct.unpack_from("=I", body, 68)[0]
            address = socket.inet_ntop(family, packed).removeprefix("::ffff:")
            yield _Socket(protocol, address, port, inode, ifindex)
            if address == "::" and not _is_v6only(body[72:]):
                yield _Socket(protocol, _ANY[4], port, inode, ifindex)


def _is_v6only(attributes: bytes) -> bool:
    offset = 0
    while offset + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if kind == _V6ONLY:
            return bool(attributes[offset + 4])
        offset += max(length + 3 & ~3, 4)
    return False


def _dump(family: int, kind: int, request: bytes) -> Iterator[bytes]:
    """Yield the bodies of a dump's messages. Raises _Untold if the kernel does not know what is asked for."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as door:
            door.settimeout(10)
            door.sendto(struct.pack("=IHHII", 16 + len(request), kind, _REQUEST | _DUMP, 1, 0) + request, (0, 0))
            while True:
                data = door.recv(1 << 17)
                offset = 0
                while offset + 16 <= len(data):
                    length, answer = struct.unpack_from("=IH", data, offset)
                    if answer in (_DONE, _ERROR):  # both with an error's number (netlink_dump_done)
                        if any(data[offset + 16 : offset + 20]):
                            raise _Untold
                        return
                    yield data[offset + 16 : offset + length]
                    offset += max(length + 3 & ~3, 16)
    except TimeoutError as late:
        raise OperationFailed("the kernel does not tell who listens", errno.ETIMEDOUT) from late
    except OSError as failure:
        if failure.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            raise _Untold from failure
        raise OperationFailed(f"who listens: {os.strerror(failure.errno or 0)}", failure.errno or 0) from failure


def _holders(inodes: set[int]) -> dict[int, str]:
    """Return the processes that have the sockets open, in words; those of others may not be seen."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, str] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    if inode is not None:
                        found.setdefault(inode, f"{_name(pid)} (process {pid})")
        if len(found) == len(wanted):
            break
    return found


def _name(pid: str) -> str:
    """Return what a process is called; that may be anything (proc(5))."""
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        name = file.read().strip()
    return name if name.isprintable() else ascii(name)[1:-1]


def _tables() -> Iterator[str]:
    """Yield the texts of the tables whose names are such as netapply gives to projects."""
    inet = struct.pack("=BBH", 1, 0, 0)  # struct nfgenmsg, NFPROTO_INET
    names = set()
    with suppress(_Untold):
        for body in _dump(12, _GETTABLE, inet):  # NETLINK_NETFILTER
            attributes = dict(_attributes(body[4:]))
            names.add(attributes.get(1, b"").rstrip(b"\0").decode("utf-8", "replace"))  # NFTA_TABLE_NAME
    for name in sorted(names):
        if name.startswith("netapply-") and name != GUARD_TABLE:
            with suppress(HostLacks):
                if text := nft.read(FAMILY, name):
                    yield text


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += max(length + 3 & ~3, 4)
