"""What a published port costs: connections by it, at one port and at a thousand, and a run that changes nothing."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.isolation import inside
from tests.machine import Outside

from .cases import Bench, Row, bench
from .measure import NETAPPLY, repeated

CONNECTIONS = 1500
"""Connections of each measurement; there are as many at the other number of ports right after."""

TURNS = 5

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
                with _served(here):
                    figures[name].append(_connections(outside, outside.host_ipv4, 8000))
                    figures["direct"].append(_connections(outside, "10.20.0.10", 80))
        idle = repeated(5, [NETAPPLY, here.manifest(MANIFEST.format(ports=THOUSAND))])
        here.host.netapply(here.manifest(MANIFEST.format(ports=ONE)))
        idle_one = repeated(5, [NETAPPLY, here.manifest(MANIFEST.format(ports=ONE))])
    plain, one, thousand = (min(figures[name]) for name in ("direct", "one", "thousand"))
    measured = f"{_us(thousand)}; at one {_us(one)}, direct {_us(plain)}"
    yield Row("TCP connect by 1000 ports against 1", measured, thousand / one, 1.05, "x one", "iptables: linear")
    yield Row("  by a port against direct", "", one / plain, None, "x direct")
    measured = f"cpu {idle.cpu * 1000:.0f} ms; at one {idle_one.cpu * 1000:.0f}"
    yield Row("no-op with 2000 published ports", measured, idle.cpu / idle_one.cpu, 1.5, "x one")


@contextmanager
def _served(here: Bench) -> Iterator[None]:
    """Have connections to port 80 of the container accepted and closed while the block runs."""
    with here.host.socket("web", "0.0.0.0", 80) as listener:
        listener.listen(512)
        listener.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _connections(outside: Outside, address: str, port: int) -> float:
    """Return the median time that a connection takes, in seconds."""
    taken = []
    with inside(outside.name):
        for _ in range(CONNECTIONS):
            start = time.perf_counter()
            with socket.create_connection((address, port), timeout=5):
                taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"
