"""Kinds of links: how their options are written to the kernel and read back. A new kind is one entry of KINDS."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

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


def choice32(number: int, words: Mapping[str, int]) -> Field:
    """Return one of some words, each a number in a u32."""
    names = {value: word for word, value in words.items()}

    def unpack(payload: bytes) -> Option:
        value = int.from_bytes(payload, sys.byteorder)
        return names.get(value, value)

    return Field(number, lambda word: struct.pack("=I", words[str(word)]), unpack)


Fields = Mapping[str, Field]

KINDS: Mapping[str, Fields] = {
    "bridge": {  # IFLA_BR_*; times are in hundredths of a second there and in seconds here
        "forward_delay": u32(1, 15, scale=100),
        "stp_state": flag32(5, False),
        "vlan_filtering": flag(7, False),
        "mcast_snooping": flag(23, True),
    },
    "macvlan": {  # IFLA_MACVLAN_*
        "mode": choice32(1, {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}),
        "bc_queue_len": u32(7, 1000),
    },
    "veth": {},
}
"""The options of each kind of link that netapply makes (IFLA_INFO_DATA of linux/if_link.h)."""

PORT: Fields = {"hairpin": flag(4, False), "isolated": flag(33, False)}
"""The options of a bridge's port (IFLA_BRPORT_* of linux/if_link.h)."""


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
