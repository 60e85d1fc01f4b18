"""What a published port costs: connections by it, at one port and at a thousand, and a run that changes nothing."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.isolation import inside
from tests.machine import Outside

from .cases import Bench, Row, bench
from .measure import NETAPPLY, repeated

CONNECTIONS, TURNS = 300, 31
"""Many short turns, since what else the machine does goes on for seconds: within a turn it is the same for both."""

MANIFEST = """
version: 1
project: bench
networks: {{front: {{ipam: {{config: [{{subnet: 10.20.0.0/24}}]}}, driver_opts: {{gateway_mode: routed}}}}}}
containers: {{web: {{networks: {{front: {{ipv4_address: 10.20.0.10}}}}, ports: {ports}}}}}
"""

ONE, THOUSAND = "['8000:80']", "['8000:80', '10000-10998:10000-10998', '10000-10998:10000-10998/udp']"


def published() -> Iterator[Row]:
    """A TCP connection from outside, to the container by its own address, by its only port, by one of a thousand."""
    figures: dict[str, list[float]] = {"direct": [], "one": [], "thousand": []}
    with bench() as here:
        outside = here.host.outside(routes=["10.20.0.0/24"])
        for _ in range(TURNS):
            for name, ports in (("one", ONE), ("thousand", THOUSAND)):
                here.host.netapply(here.manifest(MANIFEST.format(ports=ports)))
                for figure, address, port in ((name, outside.host_ipv4, 8000), ("direct", "10.20.0.10", 80)):
                    with _served(here):
                        figures[figure].append(_connections(outside, address, port))
        idle = repeated(5, [NETAPPLY, here.manifest(MANIFEST.format(ports=THOUSAND))])
        here.host.netapply(here.manifest(MANIFEST.format(ports=ONE)))
        idle_one = repeated(5, [NETAPPLY, here.manifest(MANIFEST.format(ports=ONE))])
    plain, one, thousand = (statistics.median(figures[name]) for name in ("direct", "one", "thousand"))
    measured = f"{_us(thousand)}; at one {_us(one)}, direct {_us(plain)}"
    ratio = paired(figures["thousand"], figures["one"])
    yield Row("TCP connect by 1000 ports against 1", measured, ratio, 1.05, "x one", "iptables: linear")
    yield Row("  by a port against direct", "", paired(figures["one"], figures["direct"][::2]), None, "x direct")
    measured = f"cpu {idle.cpu * 1000:.0f} ms; at one {idle_one.cpu * 1000:.0f}"
    yield Row("no-op with 2000 published ports", measured, idle.cpu / idle_one.cpu, 1.5, "x one")


@contextmanager
def _served(here: Bench) -> Iterator[None]:
    """Have connections to port 80 of the container taken while the block runs, by the kernel alone: a server's thread
    would take its turns with the client's."""
    with here.host.socket("web", "0.0.0.0", 80) as listener:
        listener.listen(2 * CONNECTIONS)
        yield


def _connections(outside: Outside, address: str, port: int) -> float:
    """Return the median time that a connection takes, in seconds."""
    taken = []
    with inside(outside.name):
        for _ in range(CONNECTIONS):
            start = time.perf_counter()
            with socket.create_connection((address, port), timeout=5):
                taken.append(time.perf_counter() - start)
    return statistics.median(taken[CONNECTIONS // 4 :])  # the first ones find caches cold, after the change


def paired(figures: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios of figures to those of the same turn."""
    return statistics.median(one / other for one, other in zip(figures, others, strict=True))


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"
