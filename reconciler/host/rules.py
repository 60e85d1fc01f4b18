"""Policy routing: the rules of others by which the host chooses another table than its main one (ip-rule(8)).

Messages are those of linux/fib_rules.h and rtnetlink.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

from ..errors import OperationFailed
from . import MAIN_RULE, Rule
from .netlink import Socket, attribute, attributes
from .rtnetlink import GETROUTE, MAIN_TABLE

_GETRULE = 34
_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr: family, lengths of prefixes, TOS, table, action, flags
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_DST, _SRC, _IIF, _PRIORITY, _MARK, _TUNNEL = 1, 2, 3, 6, 10, 12  # FRA_*; _DST and _TABLE are RTA_* as well
_LINK = 4  # RTA_OIF
_SUPPRESS, _TABLE, _MASK, _OIF, _PAD, _L3MDEV, _MADE_BY, _PROTOCOL = 14, 15, 16, 17, 18, 19, 21, 22
_FOR_ALL = frozenset({_PRIORITY, _SUPPRESS, _TABLE, _PAD, _MADE_BY})
"""What a rule for all packets says: nothing of which."""

_TOLD = _FOR_ALL | {_DST, _SRC, _IIF, _PROTOCOL, _MARK, _MASK}
"""What `Rule` tells of."""

_INVERTED = 2  # FIB_RULE_INVERT
_NONE = 0xFFFFFFFF  # no length of prefixes is left out
_TO_TABLE, _GOTO, _NOTHING = 1, 2, 3  # FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP
_ACTIONS = {_GOTO: "goto", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_OF_KERNEL = (255, MAIN_TABLE, 253)  # local, main and default
_UNICAST, _THROW = 1, 9  # RTN_*; of the latter the next rule is asked
_ENDS = (6, 7, 8)  # RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT
_FAMILIES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 6}
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_ALL = {4: "0.0.0.0/0", 6: "::/0"}


def rules(door: Socket) -> tuple[Rule, ...]:
    """Return the rules that lead elsewhere than the main table, in their order.

    Where there are any behind that table's own, those of its routes by which packets are dropped go ahead of them.
    """
    found = [one for body in door.dump(_GETRULE, _RULE.pack(*(0,) * 7)) if (one := _rule(door, body))]
    for number, family in _FAMILIES.items():
        if any(one.family == family and one.priority >= MAIN_RULE for one in found):
            ends = [prefix for prefix, link in _routes(door, number, MAIN_TABLE) if not link]
            main = f"{MAIN_RULE}: from all lookup main"
            found.insert(0, Rule(family, MAIN_RULE, main, routes=tuple(ends), links=("",) * len(ends)))
    return tuple(sorted(found, key=lambda one: one.priority))


def _rule(door: Socket, body: bytes) -> Rule | None:
    """Decode a rule; None for one that leads nowhere else, or is of another family (those of multicast)."""
    number, to_length, from_length, tos, small, action, flags = _RULE.unpack_from(body)
    found = dict(attributes(body, _RULE.size))
    table = _number(found, _TABLE) or small
    priority = _number(found, _PRIORITY)
    if number not in _FAMILIES or _L3MDEV in found:
        return None
    family, behind = _FAMILIES[number], priority >= MAIN_RULE
    if behind and table == MAIN_TABLE:
        return None
    if action == _TO_TABLE and table == MAIN_TABLE and _FOR_ALL.issuperset(found) and not (tos or flags & _INVERTED):
        beyond = _number(found, _SUPPRESS)
        return Rule(family, priority, f"{priority}: from all lookup main", beyond=-1 if beyond == _NONE else beyond)
    if action == _NOTHING or (action == _TO_TABLE and table in _OF_KERNEL and not behind):
        return None
    ways = list(_routes(door, number, table)) if action == _TO_TABLE else [(_ALL[family], "")]
    if behind and not ways:
        return None
    mark, mask = _number(found, _MARK), _number(found, _MASK)
    links = [found.get(kind, b"").rstrip(b"\0").decode(errors="replace") for kind in (_IIF, _OIF)]
    source, target = (
        f"{ip_address(found[kind])}/{length}" if kind in found else ""
        for kind, length in ((_SRC, from_length), (_DST, to_length))
    )
    inverted = bool(flags & _INVERTED)
    words = [f"{priority}:", *["not"] * inverted, "from", source or "all", *(["to", target] if target else [])]
    words += [*(["fwmark", f"{mark:#x}"] if mark else []), *(["iif", links[0]] if links[0] else [])]
    words += [*(["oif", links[1]] if links[1] else [])]
    words += ["lookup", f"{table}"] if action == _TO_TABLE else [_ACTIONS.get(action, f"action {action}")]
    return Rule(
        family,
        priority,
        " ".join(words),
        source,
        target,
        links[0],
        _PROTOCOLS.get(found.get(_PROTOCOL, b"\0")[0], ""),
        special=bool(tos or links[1] or _number(found, _TUNNEL)),
        inverted=inverted,
        routes=tuple(prefix for prefix, _ in ways),
        mark=mark & mask,
        mask=mask if mark & mask else 0,
        links=tuple(link for _, link in ways) if behind else (),
        vague=not (_TOLD.issuperset(found) and _number(found, _SUPPRESS) == _NONE) or action == _GOTO,
    )


def _number(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b"")[:4], sys.byteorder)


def _routes(door: Socket, family: int, table: int) -> Iterator[tuple[str, str]]:
    """Yield the destinations that a table has a route for, and by which link: see `Rule`."""
    body = _ROUTE.pack(family, 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0)
    try:
        rows = door.dump(GETROUTE, body + attribute(_TABLE, _U32.pack(table)))
    except OperationFailed as failure:
        if failure.errno != errno.ENOENT:
            raise
        return  # there is no such table
    for row in rows:
        _, length, *_, kind, _ = _ROUTE.unpack_from(row)
        found = dict(attributes(row, _ROUTE.size))
        if kind != _THROW:
            packed, link = found.get(_DST), "" if kind in _ENDS else "?"
            if kind == _UNICAST and (number := _number(found, _LINK)):
                with suppress(OSError):
                    link = socket.if_indextoname(number)
            yield f"{ip_address(packed)}/{length}" if packed else _ALL[_FAMILIES[family]], link
