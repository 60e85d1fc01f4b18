"""Kinds of links: how their options are written to the kernel and read back. A new kind is one entry of KINDS."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, NamedTuple

from ..resources import Option
from .netlink import Picker, attribute


class Field(NamedTuple):
    """One option: the attribute's number, how its value is packed and unpacked, and what a new link has.

    The last is left out when a link is made: a kernel may report what it can't set.
    """

    number: int
    pack: Callable[[Option], bytes]
    unpack: Callable[[bytes], Option]
    initial: Option | None = None


def flag(number: int, initial: bool) -> Field:
    """Return a yes or no in a u8."""
    return Field(number, lambda value: b"\1" if value else b"\0", lambda payload: payload[0] != 0, initial)


def flag32(number: int, initial: bool) -> Field:
    """Return a yes or no in a u32."""
    return Field(number, lambda value: struct.pack("=I", bool(value)), any, initial)


def u32(number: int, initial: int | None = None, scale: int = 1) -> Field:
    """Return a number in a u32, that many times the option's."""
    return Field(
        number,
        lambda value: struct.pack("=I", int(value) * scale),
        lambda payload: int.from_bytes(payload, sys.byteorder) // scale,
        initial,
    )


def u16(number: int, initial: int | None = None) -> Field:
    """Return a number in a u16."""
    return Field(
        number,
        lambda value: struct.pack("=H", int(value)),
        lambda payload: int.from_bytes(payload, sys.byteorder),
        initial,
    )


def choice32(number: int, words: Mapping[str, int]) -> Field:
    """Return one of some words, each a number in a u32."""
    names = {value: word for word, value in words.items()}

    def unpack(payload: bytes) -> Option:
        value = int.from_bytes(payload, sys.byteorder)
        return names.get(value, value)

    return Field(number, lambda word: struct.pack("=I", words[str(word)]), unpack)


def choice(number: int, words: Mapping[str, int], initial: Option | None = None, *, network: bool = False) -> Field:
    """Return one of some words, each a number in a u16, in `network` order where it is said."""
    order: Literal["little", "big"] = "big" if network else sys.byteorder
    names = {value: word for word, value in words.items()}

    def unpack(payload: bytes) -> Option:
        value = int.from_bytes(payload, order)
        return names.get(value, value)

    return Field(number, lambda word: words[str(word)].to_bytes(2, order), unpack, initial)


def be16(number: int) -> Field:
    """Return a number in two bytes in network order."""
    return Field(number, lambda value: int(value).to_bytes(2, "big"), lambda payload: int.from_bytes(payload, "big"))


def address(number: int, family: int) -> Field:
    """Return an address of a family, AF_INET or AF_INET6, in network order."""
    return Field(
        number, lambda text: socket.inet_pton(family, str(text)), lambda payload: socket.inet_ntop(family, payload)
    )


Fields = Mapping[str, Field]

KINDS: Mapping[str, Fields] = {
    "bridge": {  # IFLA_BR_*; times are in hundredths of a second there and in seconds here
        "forward_delay": u32(1, 15, scale=100),
        "stp_state": flag32(5, False),
        "vlan_filtering": flag(7, False),
        "mcast_snooping": flag(23, True),
        "vlan_default_pvid": u16(39, 1),
    },
    "dummy": {},
    "ifb": {},
    "ipvlan": {  # IFLA_IPVLAN_*
        "mode": choice(1, {"l2": 0, "l3": 1, "l3s": 2}),
        "flag": choice(2, {"bridge": 0, "private": 1, "vepa": 2}),
    },
    "macvlan": {  # IFLA_MACVLAN_*
        "mode": choice32(1, {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}),
        "bc_queue_len": u32(7, 1000),
    },
    "veth": {},
    "vlan": {  # IFLA_VLAN_*
        "id": u16(1),
        "protocol": choice(5, {"802.1q": 0x8100, "802.1ad": 0x88A8}, "802.1q", network=True),
    },
    "vxlan": {  # IFLA_VXLAN_*; of the two addresses a link has one
        "id": u32(1),
        "local": address(4, socket.AF_INET),
        "learning": flag(7, True),
        "port": be16(15),
        "local6": address(17, socket.AF_INET6),
    },
    "wireguard": {},  # what it has, it has by generic netlink: `reconciler.host.wireguard`
}
"""The options of each kind of link that netapply makes (IFLA_INFO_DATA of linux/if_link.h)."""

ENDPOINT_PORT: Fields = {"hairpin": flag(4, False), "isolated": flag(33, False)}
PORT: Fields = {
    **ENDPOINT_PORT,
    "learning": flag(8, True),
    "flood": flag(9, True),
    "mcast_flood": flag(27, True),
    "bcast_flood": flag(30, True),
    "neigh_suppress": flag(32, False),
}
"""The options of a bridge's port (IFLA_BRPORT_* of linux/if_link.h). Those of endpoints are few, since there are many
endpoints: what is read and never asked for makes two equal ports differ."""


def vxlan_link(index: int) -> bytes:
    """Return the option (IFLA_VXLAN_LINK) for what a VXLAN link stands on; other kinds have that outside of theirs."""
    return attribute(3, struct.pack("=I", index))


def special(fields: Fields, options: Mapping[str, Option]) -> dict[str, Option]:
    """Return those of the options in which a new link is not as the kernel makes it."""
    return {name: value for name, value in options.items() if name not in fields or fields[name].initial != value}


def encode(fields: Fields, options: Mapping[str, Option]) -> bytes:
    """Return the options as attributes. Raises KeyError for one that the kind has not."""
    return b"".join(attribute(fields[name].number, fields[name].pack(value)) for name, value in options.items())


def decode(fields: Fields, payload: bytes) -> dict[str, Option]:
    """Return those of the attributes that are options of ours."""
    if not fields or not payload:
        return {}
    found = _picker(tuple(field.number for field in fields.values())).pick(payload)
    return {name: field.unpack(found[field.number]) for name, field in fields.items() if field.number in found}


@cache
def _picker(numbers: tuple[int, ...]) -> Picker:
    return Picker(*numbers)
