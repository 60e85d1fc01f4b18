"""nf_tables without nft: a table, made once, is copied into many namespaces, which is much quicker than nft's parser.

The kernel lists an object with the same attributes with which it is made (linux/netfilter/nf_tables.h), so that a copy
is what was listed less what the kernel numbers by itself. All goes into one transaction.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

from ..errors import NotPermitted, OperationFailed
from .namespaces import RIGHTS

INET = 1
"""NFPROTO_INET."""

_NETFILTER = 12
_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 4, 6, 7
_NEWSET, _GETSET, _NEWSETELEM, _GETSETELEM, _GETGEN = 9, 10, 12, 13, 16
_BATCH_BEGIN, _BATCH_END = 16, 17
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
_ERROR, _DONE = 2, 3
_SNDBUFFORCE = 32
_HEADER = struct.Struct("=IHHII")
_MOST, _FEW = 1 << 20, 1 << 13
"""Bytes that are received at once: of a dump, and of the answer to a question."""


_TABLE = frozenset({1, 2, 6})  # name, flags, user data (the comment)
_CHAIN = frozenset({1, 3, 4, 5, 7, 12})  # table, name, hook, policy, type, user data
_SET = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 17, 18})  # all but ID, PAD, HANDLE and counts
_ELEMENTS = frozenset({1, 2, 3})  # table, set, elements
_RULE = frozenset({1, 2, 4, 7})  # table, chain, expressions, user data
_SET_ID = 10


class Message(NamedTuple):
    """One message to nf_tables: type, flags beside those that all have, attributes."""

    type: int
    flags: int
    attributes: bytes


class Batch(NamedTuple):
    """A transaction as it is sent; `last` is the number of the message that is answered once it is done."""

    data: bytes
    last: int


class NftSocket(AbstractContextManager["NftSocket"]):
    """A socket to nf_tables in the calling thread's namespace. Raises OperationFailed and NotPermitted."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        except OSError as failure:
            raise _failure(failure.errno or 0) from failure
        self._socket.settimeout(30)

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def generation(self) -> int:
        """Return the number of the current ruleset, which each transaction raises by one."""
        self._send([Message(_GETGEN, 0, b"")], 0)
        for kind, body in self._receive():
            if kind & 0xFF00 == _SUBSYSTEM:
                found = dict(attributes(body[4:]))
                return int(struct.unpack(">I", found[1])[0])
        raise OperationFailed("the kernel does not say which nftables ruleset is current")

    def has_table(self, family: int, name: str) -> bool:
        """Whether there is a table of that name."""
        self._send([Message(_GETTABLE, 0, text(1, name))], family)
        try:
            return any(kind & 0xFF00 == _SUBSYSTEM for kind, _ in self._receive())
        except OperationFailed as failure:
            if failure.errno == errno.ENOENT:
                return False
            raise

    def transact(self, whole: Batch) -> None:
        """Do all of it, or nothing."""
        with suppress(OSError):  # without the right to, what is small fits all the same
            self._socket.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 2 * len(whole.data) + (1 << 16))
        try:
            self._socket.sendto(whole.data, (0, 0))
            self._outcome(whole.last)
        except OSError as failure:
            raise _failure(failure.errno or 0) from failure

    def _outcome(self, last: int) -> None:
        """Wait for the answer to the last message; the first that was refused is the reason."""
        while True:
            for kind, number, body in _split(self._socket.recv(_MOST)):
                if kind != _ERROR:
                    continue
                if code := -struct.unpack_from("=i", body)[0]:
                    raise _failure(code)
                if number == last:
                    return

    def dump(self, type_: int, family: int, given: bytes = b"") -> list[bytes]:
        """Return the attributes of all objects of a type."""
        self._send([Message(type_, _DUMP, given)], family)
        return [body[4:] for kind, body in self._receive(dump=True) if kind & 0xFF00 == _SUBSYSTEM]

    def _send(self, messages: list[Message], family: int) -> None:
        data = b"".join(
            _message(one.type | _SUBSYSTEM, _REQUEST | one.flags, 1, family, 0, one.attributes) for one in messages
        )
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as failure:
            raise _failure(failure.errno or 0) from failure

    def _receive(self, *, dump: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield the answer's messages: one, or all up to the end of a dump."""
        while True:
            try:
                data = self._socket.recv(_MOST if dump else _FEW)
            except OSError as failure:
                raise _failure(failure.errno or 0) from failure
            for kind, _, body in _split(data):
                if kind == _DONE:
                    return
                if kind == _ERROR and (code := -struct.unpack_from("=i", body)[0]):
                    raise _failure(code)
                yield kind, body
            if not dump:
                return


def batch(family: int, messages: Sequence[Message]) -> Batch:
    """Return the transaction of some messages."""
    last = len(messages)
    flags = [_REQUEST | one.flags | (_ACK if number == last else 0) for number, one in enumerate(messages, 1)]
    body = (
        _message(one.type | _SUBSYSTEM, flags[number - 1], number, family, 0, one.attributes)
        for number, one in enumerate(messages, 1)
    )
    start = _message(_BATCH_BEGIN, _REQUEST, 0, 0, _SUBSYSTEM >> 8, b"")
    end = _message(_BATCH_END, _REQUEST, last + 1, 0, _SUBSYSTEM >> 8, b"")
    return Batch(b"".join((start, *body, end)), last)


def recorded(family: int, name: str) -> list[Message]:
    """Return the messages that make the table of that name in the current namespace, which has no other one."""
    with NftSocket() as door:
        table = door.dump(_GETTABLE, family)
        chains = door.dump(_GETCHAIN, family)
        sets = door.dump(_GETSET, family, text(1, name))
        elements = [
            one
            for made in sets
            for one in door.dump(_GETSETELEM, family, text(1, name) + attribute(2, dict(attributes(made))[2]))
        ]
        rules = door.dump(_GETRULE, family)
    made_sets = (
        _picked(one, _SET) + attribute(_SET_ID, struct.pack(">I", number)) for number, one in enumerate(sets, 1)
    )
    return [
        *(Message(_NEWTABLE, _CREATE, _picked(one, _TABLE)) for one in table),
        *(Message(_NEWCHAIN, _CREATE, _picked(one, _CHAIN)) for one in chains),
        *(Message(_NEWSET, _CREATE, one) for one in made_sets),
        *(Message(_NEWSETELEM, _CREATE, _picked(one, _ELEMENTS)) for one in elements),
        *(Message(_NEWRULE, _CREATE | _APPEND, _picked(one, _RULE)) for one in rules),
    ]


def removal(name: str) -> Message:
    """Return the message that removes a table and all that is in it."""
    return Message(_DELTABLE, 0, text(1, name))


def making(name: str) -> Message:
    """Return the message that makes a table, bare; that there is one already is no failure."""
    return Message(_NEWTABLE, _CREATE, text(1, name))


def attribute(number: int, payload: bytes) -> bytes:
    """Return an attribute with its header, filled up to four bytes."""
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def text(number: int, value: str) -> bytes:
    """Return an attribute that is a text."""
    return attribute(number, value.encode() + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes in some bytes: numbers without their flags, and payloads."""
    offset = 0
    while offset + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, offset)
        yield number & 0x3FFF, data[offset + 4 : offset + length]
        offset += max(length + 3 & ~3, 4)


def _picked(data: bytes, numbers: frozenset[int]) -> bytes:
    """Return those of the attributes, as they are, flags and all."""
    found: list[bytes] = []
    offset = 0
    while offset + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, offset)
        end = offset + max(length + 3 & ~3, 4)
        if number & 0x3FFF in numbers:
            found.append(data[offset:end].ljust(end - offset, b"\0"))
        offset = end
    return b"".join(found)


def _message(type_: int, flags: int, number: int, family: int, resource: int, payload: bytes) -> bytes:
    header = _HEADER.pack(20 + len(payload), type_, flags, number, 0)
    return header + struct.pack("=BBH", family, 0, socket.htons(resource)) + payload


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the messages in what was received: type, number, and what follows the header."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, offset)
        yield kind, number, data[offset + 16 : offset + length]
        offset += max(length + 3 & ~3, 16)


def _failure(number: int) -> NotPermitted | OperationFailed:
    if number in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"nftables: not permitted; {RIGHTS}")
    return OperationFailed(f"nftables: {os.strerror(number)}", number)
