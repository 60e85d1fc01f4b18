"""Many calls at once from namespaces to addresses and ports, by TCP and by UDP: which of them get through."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from tests.isolation import inside

_PKTINFO = 8  # IP_PKTINFO, which Python does not know
AGAIN = 0.3
"""Seconds after which a datagram is sent anew: the first may be lost while an address is still in detection."""


def connected(calls: Sequence[tuple[str, str, int]], within: float) -> list[bool]:
    """Connect by TCP from namespaces to addresses and ports, all at once, and say of each whether it got through."""
    with ExitStack() as stack:
        waiting: dict[int, int] = {}
        poll, answers = select.poll(), [False] * len(calls)
        for number, (netns, address, port) in enumerate(calls):
            one = stack.enter_context(_socket(netns, address, socket.SOCK_STREAM))
            if one.connect_ex((address, port)) == errno.EINPROGRESS:
                waiting[one.fileno()] = number
                poll.register(one, select.POLLOUT)
        deadline = time.monotonic() + within
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, event in poll.poll(left * 1000):
                poll.unregister(descriptor)
                answers[waiting.pop(descriptor)] = event == select.POLLOUT
        return answers


def answered(calls: Sequence[tuple[str, str, int]], servers: Sequence[socket.socket], within: float) -> list[bool]:
    """Send datagrams in the same way, have the servers answer, and say of each whether the answer came.

    The servers are sockets of `server`, and answer from the address that was asked.
    """
    with ExitStack() as stack:
        answers, poll = [False] * len(calls), select.poll()
        clients: dict[int, tuple[int, socket.socket]] = {}
        for number, (netns, address, port) in enumerate(calls):
            one = stack.enter_context(_socket(netns, address, socket.SOCK_DGRAM))
            if not one.connect_ex((address, port)):
                clients[one.fileno()] = number, one
        here = {one.fileno(): one for one in servers}
        for descriptor in (*clients, *here):
            poll.register(descriptor, select.POLLIN)
        deadline, again = time.monotonic() + within, 0.0
        while clients and (now := time.monotonic()) < deadline:
            if now >= again:
                again = now + AGAIN
                for _, one in clients.values():
                    with suppress(OSError):  # refused, the last time
                        one.send(b"hello")
            for descriptor, _ in poll.poll(max(min(again, deadline) - now, 0.001) * 1000):
                with suppress(OSError):
                    if descriptor in here:
                        _answer(here[descriptor])
                    elif clients[descriptor][1].recv(16):
                        poll.unregister(descriptor)
                        answers[clients.pop(descriptor)[0]] = True
        return answers


def server(
    netns: str, port: int, address: str = "::", *, tcp: bool = False, v6only: bool = False, link: str = ""
) -> socket.socket:
    """Return a socket that takes datagrams of both families and can answer from the address that was asked.

    With `tcp` it is one that takes connections, with `link` only by that link.
    """
    one = _socket(netns, address, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    if ":" in address:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        one.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
    if link:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
    one.bind((address, port))
    if tcp:
        one.listen()
    return one


def _socket(netns: str, address: str, kind: socket.SocketKind) -> socket.socket:
    with inside(netns):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    one.setblocking(False)
    return one


def _answer(one: socket.socket) -> None:
    data, ancillary, _, peer = one.recvmsg(16, socket.CMSG_SPACE(20))
    one.sendmsg([data], [(level, kind, _without_link(level, value)) for level, kind, value in ancillary], 0, peer)


def _without_link(level: int, asked: bytes) -> bytes:
    """Return the address that was asked, as it is to be answered from: struct in6_pktinfo, or struct in_pktinfo."""
    return asked[:16] + bytes(4) if level == socket.IPPROTO_IPV6 else bytes(4) + asked[4:8] + bytes(4)
