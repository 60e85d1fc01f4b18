"""A stream of pings that knows exactly which were lost; ping(8) does not count what it could not even send."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .isolation import inside

INTERVAL = 0.004
"""Seconds from one packet to the next."""

LONGEST = 60.0
"""Seconds after which a flow ends by itself."""

ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
"""Types of an echo request and its reply (RFC 792, RFC 4443)."""


class Flow:
    """Echo requests from a namespace to an address. `sent` and `lost` count packets once the flow has ended; `refused`
    are the errors with which some could not be sent, which are lost, too.

    Raises AssertionError if the address does not answer within three seconds at the beginning.
    """

    def __init__(self, netns: str, address: str) -> None:
        self.address = address
        self.sent = 0
        self.answered: set[int] = set()
        self.refused: list[str] = []
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if ":" in address else socket.IPPROTO_ICMP
        with inside(netns):
            self._socket = socket.socket(self._family, socket.SOCK_RAW, protocol)
        self._identifier = id(self) >> 4 & 0xFFFF
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begin()

    @property
    def lost(self) -> int:
        return self.sent - len(self.answered)

    def go_on(self) -> None:
        """Return once a dozen more packets were sent: on a busy machine few are while something is done."""
        wanted = self.sent + 12
        while self.sent < wanted and self._thread.is_alive():
            time.sleep(INTERVAL)

    def end(self) -> None:
        """Stop, and wait up to three seconds for the answers that are on their way."""
        self._end.set()
        self._thread.join(timeout=10)
        deadline = time.monotonic() + 3
        while self.lost and (left := deadline - time.monotonic()) > 0:
            self._receive(left)
        self._socket.close()

    def _begin(self) -> None:
        deadline = time.monotonic() + 3
        while not self.answered and time.monotonic() < deadline:
            self._send()
            self._receive(0.1)
        assert self.answered, f"{self.address} does not answer at all"
        self.sent, self.answered = 0, set()  # from here on every packet counts
        self._identifier = self._identifier + 1 & 0xFFFF  # what is still on its way is no answer to one that counts
        self._thread.start()

    def _run(self) -> None:
        deadline = time.monotonic() + LONGEST
        while not self._end.is_set() and time.monotonic() < deadline:
            self._send()
            self._receive(INTERVAL)

    def _send(self) -> None:
        request, _ = ECHO[self._family]
        packet = struct.pack("!BBHHH", request, 0, 0, self._identifier, self.sent & 0xFFFF)
        if self._family == socket.AF_INET:  # the kernel fills in ICMPv6's only
            packet = packet[:2] + _checksum(packet).to_bytes(2, "big") + packet[4:]
        self.sent += 1
        try:
            self._socket.sendto(packet, socket.MSG_DONTWAIT, (self.address, 0))
        except OSError as failure:  # sent counts it: that it could not leave is a loss
            self.refused.append(str(failure))

    def _receive(self, timeout: float) -> None:
        """Take the answers that come within so many seconds."""
        deadline = time.monotonic() + timeout
        while select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            packet = self._socket.recv(2048)
            start = (packet[0] & 0xF) * 4 if self._family == socket.AF_INET else 0  # IPv4 shows its header
            kind, _, _, identifier, number = struct.unpack_from("!BBHHH", packet, start)
            if kind == ECHO[self._family][1] and identifier == self._identifier:
                self.answered.add(number)
            if self.lost == 0 and timeout > INTERVAL:
                return


@contextmanager
def flow(netns: str, address: str) -> Iterator[Flow]:
    """Run a flow while the block runs."""
    running = Flow(netns, address)
    try:
        yield running
    finally:
        running.end()


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
