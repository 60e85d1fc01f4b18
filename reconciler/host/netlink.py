"""Netlink: messages packed with struct, sent many at a time, an acknowledgement for each.

What the kernel answers is documented in linux/netlink.h and, for the extended acknowledgements, in its
Documentation/userspace-api/netlink/intro.rst. `reconciler.host.rtnetlink` says what the messages mean.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from ..errors import OperationFailed

REQUEST, ACK, ECHO = 0x1, 0x4, 0x8
DUMP = 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
"""NLM_F_* of linux/netlink.h."""

TIMEOUT = 10
"""Seconds that the kernel may take for an answer. It works while it is asked, so that this is never met."""

_DUMP_INTERRUPTED, _CAPPED, _ACK_TLVS = 0x10, 0x100, 0x200
_ERROR, _DONE = 2, 3
_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _STRICT_CHECK = 10, 11, 12
_RCVBUFFORCE, _NETNS_COOKIE = 33, 71  # of SOL_SOCKET, asm-generic/socket.h
_NESTED, _ATTRIBUTE_TYPE = 0x8000, 0x3FFF

_RECEIVE_BUFFER = 4 << 20
_CHUNK_MESSAGES, _CHUNK_BYTES = 128, 32 << 10
"""As many answers as this fit the receive buffer, even where it can't be raised above rmem_default."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")
_TIMEVAL = struct.pack("@ll", TIMEOUT, 0)
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Message(NamedTuple):
    """A request: `type` is RTM_*, `flags` are those above, `body` is all that follows the header."""

    type: int
    flags: int
    body: bytes


class Answer(NamedTuple):
    """What became of a message. `errno` is 0 when it was done, `text` the kernel's words if it had any.

    `echo` is the body of the message that the kernel sent back because of ECHO, or the object that was asked for.
    """

    errno: int = 0
    text: str = ""
    echo: bytes = b""

    @property
    def reason(self) -> str:
        """The answer in words, such as "No such device (ENODEV)"."""
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.text or os.strerror(self.errno)} ({name})"


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute (struct nlattr), padded."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def nested(kind: int, payload: bytes) -> bytes:
    """Return an attribute whose payload is attributes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind | _NESTED) + payload


def attributes(payload: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the type (flags removed) and the payload of each attribute from an offset on."""
    end, unpack = len(payload), _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, kind = unpack(payload, offset)
        if length < 4:
            return
        yield kind & _ATTRIBUTE_TYPE, payload[offset + 4 : offset + length]
        offset += length + 3 & ~3


class _Shape(NamedTuple):
    """Where attributes are in messages whose bytes under `mask` are `headers`, both as one number."""

    mask: int
    headers: int
    places: Sequence[tuple[int, int, int]]


class Picker:
    """Picks attributes by number out of messages that are mostly alike, from the byte `start` on.

    A link's message has some fifty attributes, the same ones in link after link. Where two messages have attributes of
    the same types and lengths in the same places, which one comparison shows, the wanted ones are where they were.
    """

    MOST = 256
    """How many lengths of messages are remembered; more would cost more than they save."""

    def __init__(self, *numbers: int, start: int = 0) -> None:
        self._numbers, self._start = frozenset(numbers), start
        self._shapes: dict[int, list[_Shape]] = {}

    def pick(self, body: bytes) -> dict[int, bytes]:
        """Return the payloads of the wanted attributes that there are, by number."""
        number = int.from_bytes(body, "little")
        for mask, headers, places in self._shapes.get(len(body), ()):
            if number & mask == headers:
                return {wanted: body[start:end] for wanted, start, end in places}
        return {wanted: body[start:end] for wanted, start, end in self._learn(body, number)}

    def _learn(self, body: bytes, number: int) -> Sequence[tuple[int, int, int]]:
        places: list[tuple[int, int, int]] = []
        offset, mask = self._start, bytearray(len(body))
        while offset + 4 <= len(body):
            length, kind = _ATTRIBUTE.unpack_from(body, offset)
            if length < 4:
                break
            mask[offset : offset + 4] = b"\xff\xff\xff\xff"
            if kind & _ATTRIBUTE_TYPE in self._numbers:
                places.append((kind & _ATTRIBUTE_TYPE, offset + 4, offset + length))
            offset += length + 3 & ~3
        if len(self._shapes) < self.MOST and len(known := self._shapes.setdefault(len(body), [])) < 8:
            known.append(_Shape(headers := int.from_bytes(mask, "little"), number & headers, places))
        return places


class Socket:
    """A netlink socket in the network namespace in which it was opened; it stays there whoever uses it from where.

    `family` is NETLINK_ROUTE unless said otherwise. Raises OSError when it can't be opened.
    """

    def __init__(self, family: int = socket.NETLINK_ROUTE, *, looking: bool = False) -> None:
        """Open it. `looking`: only dumps will be asked for, which needs fewer settings."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        setting = self._socket.setsockopt
        setting(_SOL_NETLINK, _STRICT_CHECK, 1)
        setting(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
        self._sequence = 0
        if looking:
            return
        setting(_SOL_NETLINK, _EXT_ACK, 1)
        setting(_SOL_NETLINK, _CAP_ACK, 1)
        try:
            setting(socket.SOL_SOCKET, _RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            setting(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def cookie(self) -> int:
        """The number of its network namespace (SO_NETNS_COOKIE), never used again until the machine restarts."""
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8), sys.byteorder)

    def send(self, messages: Sequence[Message]) -> list[Answer]:
        """Send the messages in order and return the answer to each. All are tried, whatever becomes of the first.

        Raises OperationFailed when the kernel does not answer.
        """
        answers: list[Answer] = []
        chunk: list[Message] = []
        size = 0
        for message in messages:
            if chunk and (len(chunk) == _CHUNK_MESSAGES or size + len(message.body) > _CHUNK_BYTES):
                answers += self._send(chunk)
                chunk, size = [], 0
            chunk.append(message)
            size += len(message.body) + _HEADER.size
        return answers + self._send(chunk) if chunk else answers

    def _send(self, messages: list[Message]) -> list[Answer]:
        first = self._sequence + 1
        self._sequence += len(messages)
        packed: list[bytes] = []
        for sequence, (kind, flags, body) in enumerate(messages, first):
            packed.append(_HEADER.pack(16 + len(body), kind, flags | REQUEST | ACK, sequence, 0))
            packed.append(body)
        self._socket.send(b"".join(packed))
        answers = [Answer()] * len(messages)
        missing = len(messages)
        while missing:
            for kind, flags, sequence, body in self._receive():
                if not 0 <= (place := sequence - first) < len(answers):
                    continue  # an answer to what was given up
                if kind == _ERROR:
                    missing -= 1
                    number, text = -_NUMBER.unpack_from(body)[0], ""
                    if number:
                        text = _words(flags, body)
                    answers[place] = Answer(number, text, answers[place].echo)
                elif not answers[place].echo:
                    answers[place] = Answer(0, "", body)
        return answers

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the body of the message about every object that the dump request `kind` lists.

        A list that changed meanwhile is asked for again. Raises OperationFailed.
        """
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if (rows := self._dump(kind, body)) is not None:
                return rows
        raise OperationFailed(f"the kernel's list never stood still for {TIMEOUT} seconds (EINTR)", errno.EINTR)

    def _dump(self, kind: int, body: bytes) -> list[bytes] | None:
        self._sequence = sequence = self._sequence + 1
        self._socket.send(_HEADER.pack(16 + len(body), kind, REQUEST | DUMP, sequence, 0) + body)
        rows: list[bytes] = []
        interrupted, unpack = 0, _HEADER.unpack_from
        while True:
            datagram, offset = self._datagram(), 0
            while offset + 16 <= len(datagram):
                length, answer, flags, number, _ = unpack(datagram, offset)
                start, offset = offset + 16, offset + (length + 3 & ~3)
                if number != sequence:
                    continue  # an answer to what was given up
                interrupted |= flags & _DUMP_INTERRUPTED
                if answer not in (_DONE, _ERROR):
                    rows.append(datagram[start : start + length - 16])
                    continue
                failure = -_NUMBER.unpack_from(datagram, start)[0] if length >= 20 else 0
                if failure == errno.EINTR or interrupted:
                    return None
                if failure:
                    raise OperationFailed(f"reading from the kernel: {Answer(failure).reason}", failure)
                return rows

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield type, flags, sequence number and body of the messages of one datagram."""
        datagram, offset = self._datagram(), 0
        while offset + 16 <= len(datagram):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
            yield kind, flags, sequence, datagram[offset + 16 : offset + length]
            offset += length + 3 & ~3

    def _datagram(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except BlockingIOError as late:
            raise OperationFailed(f"the kernel gave no answer within {TIMEOUT} seconds", errno.ETIMEDOUT) from late
        except OSError as failure:  # ENOBUFS: answers were lost
            number = failure.errno or 0
            raise OperationFailed(f"the kernel's answer was lost: {Answer(number).reason}", number) from failure


def _words(flags: int, body: bytes) -> str:
    """Return the kernel's message in an extended acknowledgement (NLMSGERR_ATTR_MSG), "" if there is none."""
    if not flags & _ACK_TLVS:
        return ""
    offset = 20 if flags & _CAPPED else 4 + (struct.unpack_from("=I", body, 4)[0] + 3 & ~3)
    return next(
        (text.rstrip(b"\0").decode(errors="replace") for kind, text in attributes(body, offset) if kind == 1), ""
    )
