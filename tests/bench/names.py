"""Names: how many questions a resolver answers that knows 10,000, and how soon it knows of a change."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

from reconciler.host import Scope
from reconciler.host.linux import LinuxHost
from reconciler.plan import Update
from reconciler.resources import DnsHosts, Key
from tests.dns import ask, question
from tests.isolation import inside

from .cases import Row, bench
from .measure import NETAPPLY, cost

COUNT = 10_000
QUESTIONS = 10_000
OUTSTANDING = 16
"""Questions that wait for their answers at a time, as those of several clients do; dnsperf's usual limit is 100."""
SERVER = "10.20.0.1"

MANIFEST = """
version: 1
project: bench
dns: true
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers: {web: {networks: [front]}}
"""


def ten_thousand() -> Iterator[Row]:
    """Ask from a sandbox, as containers do; the names are put into the file as netapply does it."""
    with bench() as here:
        cost([NETAPPLY, here.manifest(MANIFEST)])
        host = LinuxHost()
        records = [f"10.{64 + n // 62500}.{n // 250 % 250}.{n % 250 + 1} c{n} c{n}.front" for n in range(COUNT)]
        _write(host, records)
        _until("c9999")
        delays = []
        for number in range(10):
            started = _write(host, [*records[1:], f"10.20.0.99 new{number}"])
            _until(f"new{number}")
            delays.append(time.monotonic() - started)
        yield Row(
            "change among 10,000 names visible",
            f"the median of 10, from before the file is written; at most {1000 * max(delays):.0f} ms",
            sorted(delays)[5] * 1000,
            50,
            "ms",
        )
        alone, many = _answered(1), _answered(OUTSTANDING)
        yield Row(
            "questions among 10,000 names",
            f"{OUTSTANDING} outstanding; one after the other {alone:.0f}",
            many,
            5000,
            "a second",
            at_least=True,
        )


def _answered(outstanding: int) -> float:
    """Return how many questions from a container are answered a second, so many of which are always under way."""
    questions = [question(f"c{1 + number % (COUNT - 1)}", "A") for number in range(QUESTIONS)]
    with inside("web"):
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with handle:
        handle.settimeout(2)
        handle.connect((SERVER, 53))
        started = time.monotonic()
        for number, query in enumerate(questions):
            handle.send(query)
            if number >= outstanding - 1:
                _take(handle)
        for _ in range(outstanding - 1):
            _take(handle)
        return QUESTIONS / (time.monotonic() - started)


def _take(handle: socket.socket) -> None:
    """Take an answer with one address in it."""
    assert struct.unpack_from("!H", handle.recv(512), 6) == (1,)


def _write(host: LinuxHost, records: list[str]) -> float:
    """Have the names of the network be these, and return when that began."""
    before = host.observe(Scope("bench", {})).state[Key("names", "front")]
    assert isinstance(before, DnsHosts)
    started = time.monotonic()
    for result in host.apply([Update(before, DnsHosts("front", tuple(records)), ("records",))]):
        assert not result.error
    return started


def _until(name: str) -> None:
    deadline = time.monotonic() + 10
    while ask("web", SERVER, name).code != "NOERROR":
        assert time.monotonic() < deadline
