"""rtnetlink's messages about links, addresses, routes and namespaces: encoded, and what is compared decoded.

Formats are those of linux/rtnetlink.h, if_link.h, if_addr.h and net_namespace.h. `reconciler.host.kinds` has what
differs from one kind of link to the next.
"""

from __future__ import annotations

import socket
import struct
import sys
from functools import cache
from typing import NamedTuple

from ..resources import ROUTE_PROTOCOL
from .netlink import CREATE, ECHO, EXCL, REPLACE, Message, Picker, attribute, attributes, nested

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
GETNSID = 90

IFF_UP = 1
LOOPBACK = 1
"""The index of `lo` in every namespace (LOOPBACK_IFINDEX of net/flow.h)."""

UNKNOWN_KIND = "Unknown device type"
"""The kernel's words for a kind of link that it does not make (EOPNOTSUPP, net/core/rtnetlink.c)."""

GEN_MODE_NONE = 1
"""IN6_ADDR_GEN_MODE_NONE: the kernel makes no link-local address by itself."""

KERNEL_MADE = frozenset({1, 2, 3})
"""IFA_PROTO of addresses that the kernel made: loopback, router advertisement, link-local."""

MAIN_TABLE = 254
KERNEL_PROTOCOL = 2

_SCOPE_LINK, _SCOPE_NOWHERE = 253, 255
_ONLINK = 4  # RTNH_F_ONLINK
_ROUTE_TYPES = {1: "unicast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_ROUTE_NUMBERS = {word: number for number, word in _ROUTE_TYPES.items()}

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")

_ONE = _U32.pack(1)
_LINK_PICKER = Picker(1, 3, 4, 5, 10, 18, 20, 26, 27, 37, 52, start=16)  # IFLA_*
_BELOW_PICKER = Picker(5, start=16)
_ALIAS_PICKER = Picker(20, start=16)
_INFO_PICKER = Picker(1, 2, 4, 5)  # IFLA_INFO_*
_VXLAN_PICKER = Picker(3)  # IFLA_VXLAN_LINK
_FAMILY_PICKER = Picker(socket.AF_INET6)
_INET6_PICKER = Picker(2, 8)  # IFLA_INET6_CONF, IFLA_INET6_ADDR_GEN_MODE
_ADDRESS_PICKER = Picker(1, 2, 11, start=8)  # IFA_*
_ROUTE_PICKER = Picker(1, 4, 5, 6, 9, start=12)  # RTA_*

_SKIP_STATS = _U32.pack(8)  # RTEXT_FILTER_SKIP_STATS: two thirds of a link's message


# --- links


def link(
    *,
    index: int = 0,
    up: bool | None = None,
    name: str | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    group: int | None = None,
    alias: str | None = None,
    master: int | None = None,
    parent: int | None = None,
    netns_fd: int | None = None,
    ipv6: bool | None = None,
    promote: bool = False,
    one_queue: bool = False,
    kind: str | None = None,
    options: bytes = b"",
    port: bytes = b"",
) -> bytes:
    """Return the body of a message about a link: struct ifinfomsg and the attributes that are given.

    `master` 0 takes it out of what it is in, an empty `alias` takes that away. `ipv6` False switches the kernel's own
    address generation off, True back to EUI-64. `promote`: deleting an IPv4 address leaves the others of its subnet.
    `options` and `port` are encoded by `reconciler.host.kinds`.
    """
    body = [_LINK.pack(0, 0, index, bool(up), up is not None)]
    if name is not None:
        body.append(attribute(3, name.encode("utf-8", "surrogateescape") + b"\0"))
    if mac is not None:
        body.append(attribute(1, bytes.fromhex(mac.replace(":", ""))))
    for number, value in ((4, mtu), (5, parent), (10, master), (27, group), (28, netns_fd)):
        if value is not None:
            body.append(attribute(number, _U32.pack(value)))
    if one_queue:
        body.append(attribute(31, _ONE) + attribute(32, _ONE))
    if alias is not None:
        body.append(attribute(20, alias.encode()))  # without a zero at the end, which counts among the 255 bytes
    if ipv6 is not None or promote:
        body.append(_family_settings(ipv6, promote))
    if kind is not None or port:
        body.append(_link_info(kind, options, port))
    return b"".join(body)


def _family_settings(ipv6: bool | None, promote: bool) -> bytes:
    """Return IFLA_AF_SPEC with IFLA_INET6_ADDR_GEN_MODE and IPV4_DEVCONF_PROMOTE_SECONDARIES."""
    settings = b""
    if promote:
        settings += nested(socket.AF_INET, nested(1, attribute(20, _ONE)))
    if ipv6 is not None:
        settings += nested(socket.AF_INET6, attribute(8, b"\0" if ipv6 else bytes([GEN_MODE_NONE])))
    return nested(26, settings)


def _link_info(kind: str | None, options: bytes, port: bytes) -> bytes:
    info = b""
    if kind is not None:
        info += attribute(1, kind.encode() + b"\0")
        if options:
            info += nested(2, options)
    if port:
        info += attribute(4, b"bridge\0") + nested(5, port)
    return nested(18, info)


def veth_peer(body: bytes) -> bytes:
    """Return the options of a veth whose other end is as the body of `link` says (VETH_INFO_PEER)."""
    return nested(1, body)


def new_link(body: bytes) -> Message:
    """Return the request to make a link; the kernel sends the new one back, from 6.2 on."""
    return Message(NEWLINK, CREATE | EXCL | ECHO, body)


def set_link(body: bytes) -> Message:
    """Return the request to change a link. RTM_NEWLINK, since RTM_SETLINK ignores options of kind and port."""
    return Message(NEWLINK, 0, body)


def delete_link(index: int = 0, name: str | None = None) -> Message:
    return Message(DELLINK, 0, link(index=index, name=name))


def delete_group(group: int) -> Message:
    """Return the request to delete all links of a group at once."""
    return Message(DELLINK, 0, link(group=group))


def get_link(name: str | None = None, index: int = 0) -> Message:
    """Return the request for the link of that name or index."""
    return Message(GETLINK, 0, link(index=index, name=name) + attribute(29, _SKIP_STATS))


def all_links() -> bytes:
    """Return the body of the request for all links, without their statistics."""
    return _LINK.pack(0, 0, 0, 0, 0) + attribute(29, _SKIP_STATS)


class LinkRow(NamedTuple):
    """What the kernel says of a link. `mac` and `alias` are "" where there is none.

    `below` is the index of the link that it stands on, or of a veth's other end, in the namespace with the number
    `below_nsid` (None: the same one). `data` and `port_data` are its encoded options, `families` its settings by
    address family.
    """

    ifindex: int
    flags: int
    name: str
    kind: str = ""
    mtu: int = 0
    mac: str = ""
    group: int = 0
    alias: str = ""
    master: int = 0
    below: int = 0
    below_nsid: int | None = None
    data: bytes = b""
    port_data: bytes = b""
    families: bytes = b""
    other_names: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def ipv6(self) -> bool:
        """Whether the kernel makes IPv6 addresses for it by itself."""
        mode = self._inet6().get(8)
        return mode is not None and mode[0] != GEN_MODE_NONE

    @property
    def accept_ra(self) -> int:
        """Whether it takes router advertisements: 0 never, 1 while it does not forward IPv6, 2 always."""
        return self._devconf(3)

    @property
    def forwards_ipv6(self) -> bool:
        return bool(self._devconf(0))

    def _devconf(self, place: int) -> int:
        """Return a setting of IFLA_INET6_CONF, an array by DEVCONF_* of linux/ipv6.h; 0 without IPv6."""
        settings = self._inet6().get(2, b"")
        return int(_U32.unpack_from(settings, place * 4)[0]) if len(settings) >= place * 4 + 4 else 0

    def _inet6(self) -> dict[int, bytes]:
        return _INET6_PICKER.pick(_FAMILY_PICKER.pick(self.families).get(socket.AF_INET6, b""))


def link_row(body: bytes) -> LinkRow:
    """Decode a message about a link."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = _LINK_PICKER.pick(body)
    get, number = found.get, _number
    kind, data, port_data = _link_kind(found[18]) if 18 in found else ("", b"", b"")
    below = number(get(5, b""))
    if kind == "vxlan":
        below = number(_VXLAN_PICKER.pick(data).get(3, b""))
    return LinkRow(  # in the order of its fields, which is quicker than by name
        index,
        flags,
        _text(get(3, b"")),
        kind,
        number(get(4, b"")),
        get(1, b"").hex(":"),
        number(get(27, b"")),
        _text(get(20, b"")),
        number(get(10, b"")),
        below,
        number(found[37]) if 37 in found else None,
        data,
        port_data,
        get(26, b""),
        tuple(_text(name) for _, name in attributes(found[52])) if 52 in found else (),
    )


def loopback_row(body: bytes) -> LinkRow:
    """Decode of a message about `lo` what matters in a sandbox: its mark, and whether it is up."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    return LinkRow(index, flags, "lo", alias=_text(_ALIAS_PICKER.pick(body).get(20, b"")))


def index_of_link(body: bytes) -> int:
    """Return the index of the link that a message is about, without decoding the rest."""
    return int(_U32.unpack_from(body, 4)[0])


def ends(body: bytes) -> tuple[int, int]:
    """Return the index of the link that a message is about, and of a veth's other end, 0 where there is none."""
    return index_of_link(body), _number(_BELOW_PICKER.pick(body).get(5, b""))


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, sys.byteorder)


def _link_kind(payload: bytes) -> tuple[str, bytes, bytes]:
    found = _INFO_PICKER.pick(payload)
    return _text(found.get(1, b"")), found.get(2, b""), found.get(5, b"") if found.get(4) == b"bridge\0" else b""


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("utf-8", "surrogateescape")


# --- addresses


def address(index: int, text: str, *, made: bool = True) -> bytes:
    """Return the body of a message about an address such as "10.20.0.10/24". `made`: with our mark, to create it."""
    family, packed, length = _prefix(text)
    body = _ADDRESS.pack(family, length, 0, 0, index) + attribute(2, packed)
    if family == socket.AF_INET:
        body += attribute(1, packed)
    if made:
        body += attribute(11, bytes([ROUTE_PROTOCOL]))  # IFA_PROTO
        if family == socket.AF_INET6:
            body += attribute(8, _U32.pack(2))  # IFA_F_NODAD: it is ours, and usable at once
    return body


def new_address(index: int, text: str) -> Message:
    return Message(NEWADDR, CREATE | EXCL, address(index, text))


def delete_address(index: int, text: str) -> Message:
    return Message(DELADDR, 0, address(index, text, made=False))


def all_addresses() -> bytes:
    """Return the body of the request for all addresses of both families."""
    return _ADDRESS.pack(0, 0, 0, 0, 0)


class AddressRow(NamedTuple):
    """What the kernel says of an address: "10.20.0.10/24" on the link `ifindex`. `protocol` is ours for ours."""

    ifindex: int
    address: str
    protocol: int
    scope: int


def index_of_address(body: bytes) -> int:
    """Return the index of the link that a message about an address is about, without decoding the rest."""
    return int(_U32.unpack_from(body, 4)[0])


def address_row(body: bytes) -> AddressRow:
    """Decode a message about an address."""
    family, length, _, scope, index = _ADDRESS.unpack_from(body)
    found = _ADDRESS_PICKER.pick(body)
    packed = found.get(2) or found.get(1, b"")  # IFA_LOCAL: IFA_ADDRESS is the other end of a point-to-point link
    protocol = found.get(11)
    return AddressRow(index, f"{_host(family, packed)}/{length}", protocol[0] if protocol else 0, scope)


# --- routes


def route(
    destination: str,
    *,
    via: str | None,
    link: int | None,
    metric: int,
    kind: str = "unicast",
    onlink: bool = False,
    delete: bool = False,
) -> bytes:
    """Return the body of a message about a route of ours in the main table. `link` is the index of where it leaves."""
    family, packed, length = _prefix(destination)
    scope = 0
    if delete:
        scope = _SCOPE_NOWHERE if family == socket.AF_INET else 0
    elif family == socket.AF_INET and kind == "unicast" and via is None:
        scope = _SCOPE_LINK
    number = _ROUTE_NUMBERS[kind]
    flags = _ONLINK if onlink else 0
    body = _ROUTE.pack(family, length, 0, 0, MAIN_TABLE, ROUTE_PROTOCOL, scope, number, flags)
    if length:
        body += attribute(1, packed)
    if via is not None:
        body += attribute(5, _prefix(via)[1])
    if link is not None:
        body += attribute(4, _U32.pack(link))
    return body + attribute(6, _U32.pack(metric))


def new_route(body: bytes) -> Message:
    return Message(NEWROUTE, CREATE | EXCL, body)


def replace_route(body: bytes) -> Message:
    return Message(NEWROUTE, CREATE | REPLACE, body)


def delete_route(body: bytes) -> Message:
    return Message(DELROUTE, 0, body)


def main_routes(family: int = 0) -> bytes:
    """Return the body of the request for the routes of the main table, of both families unless one is given."""
    return _ROUTE.pack(family, 0, 0, 0, MAIN_TABLE, 0, 0, 0, 0) + attribute(15, _U32.pack(MAIN_TABLE))


class RouteRow(NamedTuple):
    """What the kernel says of a route. `link` is the index of where it leaves by, of several the first, else 0."""

    destination: str
    via: str | None
    link: int
    metric: int
    type: str
    protocol: int
    onlink: bool = False


def protocol_of_route(body: bytes) -> int:
    """Return who made the route that a message is about, without decoding the rest."""
    return body[5]


def route_row(body: bytes) -> RouteRow | None:
    """Decode a message about a route; None for what is not in the main table (local and cached ones)."""
    family, length, _, _, table, protocol, _, number, flags = _ROUTE.unpack_from(body)
    if table != MAIN_TABLE or flags & 0x200:  # RTM_F_CLONED
        return None
    found = _ROUTE_PICKER.pick(body)
    if (several := found.get(9)) and len(several) >= 8:  # RTA_MULTIPATH: struct rtnexthop, then its attributes
        size, _, _, hop = struct.unpack_from("=HBBi", several)
        found = {4: _U32.pack(hop), **dict(attributes(several[:size], 8)), **found}
    packed, via, link = found.get(1), found.get(5), found.get(4)
    return RouteRow(
        f"{_host(family, packed) if packed else ('::' if family == socket.AF_INET6 else '0.0.0.0')}/{length}",
        _host(family, via) if via else None,
        _U32.unpack(link)[0] if link else 0,
        _U32.unpack(found[6])[0] if 6 in found else 0,
        _ROUTE_TYPES.get(number, str(number)),
        protocol,
        bool(flags & _ONLINK),
    )


# --- namespaces


def get_nsid(netns_fd: int) -> Message:
    """Return the question under which number (nsid) the namespace of the descriptor is known where it is asked."""
    return Message(GETNSID, 0, b"\0\0\0\0" + attribute(3, _U32.pack(netns_fd)))


def nsid(body: bytes) -> int | None:
    """Return the number in the answer, None if there is none."""
    number = dict(attributes(body, 4)).get(1)
    value = struct.unpack("=i", number)[0] if number else -1
    return None if value < 0 else int(value)


@cache
def _prefix(text: str) -> tuple[int, bytes, int]:
    """Return family, address in network order and length of "10.0.0.0/24"; without a length the whole address's."""
    host, _, length = text.partition("/")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    return family, packed, int(length) if length else len(packed) * 8


def _host(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed) if packed else ""
