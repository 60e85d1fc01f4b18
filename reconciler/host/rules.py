"""Policy routing: the rules of others by which the host chooses another table than its main one (ip-rule(8)).

Messages are those of linux/fib_rules.h and rtnetlink.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address

from ..errors import OperationFailed
from . import Rule
from .netlink import Socket, attribute, attributes
from .rtnetlink import GETROUTE, MAIN_TABLE

_GETRULE = 34
_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr: family, lengths of prefixes, TOS, table, action, flags
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_DST, _SRC, _IIF, _PRIORITY, _MARK, _TUNNEL = 1, 2, 3, 6, 10, 12  # FRA_*; _DST and _TABLE are RTA_* as well
_SUPPRESS, _TABLE, _MASK, _OIF, _PAD, _L3MDEV, _MADE_BY, _PROTOCOL = 14, 15, 16, 17, 18, 19, 21, 22
_FOR_ALL = frozenset({_PRIORITY, _SUPPRESS, _TABLE, _PAD, _MADE_BY})
"""What a rule for all packets says: nothing of which."""

_INVERTED = 2  # FIB_RULE_INVERT
_NONE = 0xFFFFFFFF  # no length of prefixes is left out
_TO_TABLE, _NOTHING = 1, 3  # FR_ACT_TO_TBL, FR_ACT_NOP
_ACTIONS = {2: "goto", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_OF_KERNEL = (255, MAIN_TABLE, 253)  # local, main and default
_MAIN = 32766
"""The priority of the rule for the main table: what comes later is asked only where that has no route."""

_THROW = 9  # RTN_THROW: the next rule is asked
_FAMILIES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 6}
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_ALL = {4: "0.0.0.0/0", 6: "::/0"}


def rules(door: Socket) -> tuple[Rule, ...]:
    """Return the rules ahead of the main table's that lead elsewhere, in their order."""
    found = (_rule(door, body) for body in door.dump(_GETRULE, _RULE.pack(*(0,) * 7)))
    return tuple(sorted((one for one in found if one), key=lambda one: one.priority))


def _rule(door: Socket, body: bytes) -> Rule | None:
    """Decode a rule; None for one that leads nowhere else, or is of another family (those of multicast)."""
    number, to_length, from_length, tos, small, action, flags = _RULE.unpack_from(body)
    found = dict(attributes(body, _RULE.size))
    table = _number(found, _TABLE) or small
    priority = _number(found, _PRIORITY)
    if number not in _FAMILIES or priority >= _MAIN or _L3MDEV in found:
        return None
    family = _FAMILIES[number]
    if action == _TO_TABLE and table == MAIN_TABLE and _FOR_ALL.issuperset(found) and not (tos or flags & _INVERTED):
        beyond = _number(found, _SUPPRESS)
        return Rule(family, priority, f"{priority}: from all lookup main", beyond=-1 if beyond == _NONE else beyond)
    if action == _NOTHING or (action == _TO_TABLE and table in _OF_KERNEL):
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
        special=bool(mark & mask or tos or links[1] or _number(found, _TUNNEL)),
        inverted=inverted,
        routes=tuple(_routes(door, number, table)) if action == _TO_TABLE else (_ALL[family],),
    )


def _number(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b"")[:4], sys.byteorder)


def _routes(door: Socket, family: int, table: int) -> Iterator[str]:
    """Yield the destinations that a table has a route for."""
    body = _ROUTE.pack(family, 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0)
    try:
        rows = door.dump(GETROUTE, body + attribute(_TABLE, _U32.pack(table)))
    except OperationFailed as failure:
        if failure.errno != errno.ENOENT:
            raise
        return  # there is no such table
    for row in rows:
        _, length, *_, kind, _ = _ROUTE.unpack_from(row)
        packed = dict(attributes(row, _ROUTE.size)).get(_DST)
        if kind != _THROW:
            yield f"{ip_address(packed)}/{length}" if packed else _ALL[_FAMILIES[family]]
