"""Endpoints on other hosts: what one more of them costs, and ten thousand."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from tests.machine import Machine

from .cases import ROUNDS, Bench, Row, bench, phases
from .measure import Cost, cost, median
from .phases import GONE_BY

FEW, MANY = 10_000, 50_000

ON_A_HOST = 1000
"""Fewer than a bridge has ports."""


def remote_endpoints() -> Iterator[Row]:
    """A forwarding entry and a neighbour for each, from nothing, against `bridge -batch` and `ip -batch`."""
    ours: dict[int, list[dict[str, float]]] = {FEW: [], MANY: []}
    idle: list[dict[str, float]] = []
    batched: list[Cost] = []
    for _ in range(ROUNDS):
        for number, found in ours.items():
            with bench() as here:
                _uplink(here.host)
                file = here.manifest(manifest(number))
                found.append(phases(file))
                if number == FEW:
                    idle.append(phases(file))
        with bench() as here:
            batched.append(_batches(here, FEW))
    few, many = ({name: _median(found, name) for name in found[0]} for found in ours.values())
    batch = median(batched)
    measured = f"cpu {few['apply']:.2f} s; bridge and ip -batch cpu {batch.cpu:.2f} s"
    yield Row(f"{FEW:,} remote endpoints applied", measured, few["apply"], 0.5, "s", "pyroute2 12.8 s, batch 1.0 s")
    yield Row("  against bridge and ip -batch", "", few["apply"] / batch.cpu, None, "x batch")
    total = sum(seconds for name, seconds in few.items() if name not in GONE_BY)
    parts = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in few.items() if name not in GONE_BY)
    yield Row("  the whole run (cpu)", f"{parts} ms", total, None, "s")
    none = sum(_median(idle, name) for name in idle[0] if name not in GONE_BY)
    yield Row("  nothing to do (cpu)", f"observing {_median(idle, 'observe') * 1000:.0f} ms", none, None, "s")
    grown = f"cpu {few['apply']:.2f} to {many['apply']:.2f} s"
    yield Row(f"  growth to {MANY:,}", grown, many["apply"] / few["apply"], 1.2 * MANY / FEW, "x")


def manifest(endpoints: int) -> str:
    """Return the manifest of one container here, and so many on other hosts."""
    lines = ["version: 1", "project: bench", "hosts:", "  here: {address: 192.0.2.1}"]
    lines += [f"  h{one}: {{address: 198.51.100.{one + 1}}}" for one in range(endpoints // ON_A_HOST)]
    lines += ["networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.64.0.0/12}]}}}", "containers:"]
    lines += ["  own: {host: here, networks: [front]}"]
    lines += [f"  c{one:05}: {{host: h{one // ON_A_HOST}, networks: [front]}}" for one in range(endpoints)]
    return "\n".join(lines) + "\n"


def _batches(here: Bench, endpoints: int) -> Cost:
    """Make the same entries with `bridge` and `ip`, each in one batch."""
    for command in (
        "link add br0 type bridge",
        "link add vx0 type vxlan id 5000 local 192.0.2.1 dstport 4789 nolearning",
        "link set vx0 master br0",
        "link set br0 up",
        "link set vx0 up",
    ):
        here.host.run(f"ip {command}")
    fdb, neighbours = [], []
    for one in range(endpoints):
        mac = f"02:00:00:{one >> 16:02x}:{one >> 8 & 255:02x}:{one & 255:02x}"
        fdb.append(f"fdb add {mac} dev vx0 dst 198.51.100.{one // ON_A_HOST + 1} self master static")
        neighbours.append(f"neigh add 10.64.{one >> 8}.{one & 255} lladdr {mac} dev br0 nud permanent")
    for name, lines in (("fdb", fdb), ("neighbours", neighbours)):
        (here.folder / name).write_text("\n".join(lines) + "\n")
    return cost(["sh", "-ec", f"bridge -batch {here.folder}/fdb; ip -batch {here.folder}/neighbours"])


def _uplink(host: Machine) -> None:
    host.run("ip link add eth0 type veth peer name far")
    host.run("ip addr add 192.0.2.1/24 dev eth0")
    host.run("ip link set eth0 up")


def _median(found: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in found)
