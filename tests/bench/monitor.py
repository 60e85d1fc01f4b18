"""Counting what the kernel reports of changes: the proof that a run that has nothing to do writes nothing."""

from __future__ import annotations

import resource
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.isolation import inside

ROUTE_GROUPS = (1, 4, 5, 7, 8, 9, 11, 12, 18, 19, 24, 25)
"""RTNLGRP_* of linux/rtnetlink.h: links, traffic control, addresses, routes, rules, prefixes and netconf.

Neighbours are left out: the kernel itself changes them as time passes.
"""

NFTABLES_GROUP = 7
"""NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h."""

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1


@contextmanager
def notifications(sandboxes: Sequence[str]) -> Iterator[Counter[str]]:
    """Count the notifications of rtnetlink and nftables in the host and in these namespaces while the block runs.

    By namespace, "" for the host; the counter is filled when the block has ended.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, len(sandboxes) + 1024), hard))
    count: Counter[str] = Counter()
    try:
        with ExitStack() as stack:
            open_ones = [("", stack.enter_context(_listening("", socket.NETLINK_ROUTE, ROUTE_GROUPS)))]
            open_ones.append(("", stack.enter_context(_listening("", NETLINK_NETFILTER, (NFTABLES_GROUP,)))))
            open_ones += [
                (name, stack.enter_context(_listening(name, socket.NETLINK_ROUTE, ROUTE_GROUPS))) for name in sandboxes
            ]
            yield count
            for name, news in open_ones:
                count[name] += sum(1 for _ in _messages(news))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _listening(netns: str, family: int, groups: Sequence[int]) -> socket.socket:
    with inside(netns):
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
    news.bind((0, 0))
    news.setblocking(False)
    news.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for group in groups:
        news.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    return news


def _messages(news: socket.socket) -> Iterator[int]:
    """Yield the type of each message that has come. A socket that was too small for them is an OSError, no silence."""
    while True:
        try:
            data = news.recv(1 << 20)
        except BlockingIOError:
            return
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            yield kind
            data = data[(length + 3) & ~3 :]
