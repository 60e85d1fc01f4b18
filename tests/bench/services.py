"""What services cost: many sandboxes with many of them, and a connection by a virtual IP, at one and at a thousand."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator

from tests.isolation import inside

from .cases import Bench, Row, bench
from .measure import NETAPPLY, Cost, cost, repeated
from .ports import paired
from .workload import PROJECT

SANDBOXES, SERVICES, BACKENDS = 1000, 50, 10

CONNECTIONS, TURNS = 300, 31


def manifest(sandboxes: int, services: int, backends: int) -> str:
    """Return a manifest of sandboxes on one network with services, whose containers are these sandboxes in turn.

    A bridge has 1023 ports at most, so that there can't be more sandboxes.
    """
    lines = ["version: 1", f"project: {PROJECT}", "networks: {net: {ipam: {config: [{subnet: 10.96.0.0/16}]}}}"]
    lines.append("containers:")
    lines += [f"  c{one:04}: {{networks: [net]}}" for one in range(sandboxes)]
    lines.append("services:")
    for one in range(services):
        names = ", ".join(f"c{(one * backends + place) % sandboxes:04}" for place in range(backends))
        lines.append(
            f"  s{one:04}: {{network: net, containers: [{names}], vip: 10.96.{254 - one // 250}.{one % 250 + 1}}}"
        )
    return "\n".join(lines) + "\n"


def balanced() -> Iterator[Row]:
    """All services in all sandboxes from clean, nothing to do, and what a connection takes."""
    with bench() as here:
        file = here.manifest(manifest(SANDBOXES, SERVICES, BACKENDS))
        clean = cost([NETAPPLY, file])
        idle = repeated(3, [NETAPPLY, file])
    what = f"{SANDBOXES} sandboxes x {SERVICES} services x {BACKENDS} containers"
    yield Row(f"{what}, from clean", _s(clean), clean.wall, 6.0, "s", "nft in each: 47 s")
    yield Row("  nothing to do", _s(idle), idle.wall, 1.0, "s")
    figures: dict[str, list[float]] = {"direct": [], "one": [], "thousand": []}
    with bench() as here:
        for _ in range(TURNS):
            for name, number in (("one", 1), ("thousand", 1000)):
                here.host.netapply(here.manifest(manifest(3, number, 2)))
                figures[name].append(_connections(here, "10.96.254.1"))
                own = here.host.addresses("c0001")[0]
                figures["direct"].append(_connections(here, own))
    plain, one, thousand = (statistics.median(figures[name]) for name in ("direct", "one", "thousand"))
    measured = f"{thousand * 1e6:.0f} us; at one {one * 1e6:.0f} us, direct {plain * 1e6:.0f} us"
    ratio = paired(figures["thousand"], figures["one"])
    yield Row("TCP connect by a virtual IP, of 1000 against of 1", measured, ratio, 1.05, "x one")
    yield Row("  by a virtual IP against direct", "", paired(figures["one"], figures["direct"][::2]), None, "x direct")


def _connections(here: Bench, address: str) -> float:
    """Return the median time that a connection to port 80 of the containers takes, in seconds."""
    taken = []
    listeners = [here.host.socket(name, "0.0.0.0", 80) for name in ("c0000", "c0001")]
    for one in listeners:
        one.listen(2 * CONNECTIONS)  # they are accepted by nobody, which takes no time
    with inside("c0002"):
        for _ in range(CONNECTIONS):
            start = time.perf_counter()
            with socket.create_connection((address, 80), timeout=5):
                taken.append(time.perf_counter() - start)
    for one in listeners:
        one.close()
    return statistics.median(taken[CONNECTIONS // 4 :])


def _s(figure: Cost) -> str:
    return f"{figure.wall:.2f} s (cpu {figure.user + figure.system:.2f})"
