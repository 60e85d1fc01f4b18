"""Bandwidth: what the endpoints need that it is said of, whatever their driver, as long as they are veth pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..errors import DriverError
from ..naming import ifb_name, mac_address
from ..networks import Bandwidth, Rate, Topology
from ..resources import HOST, IFB, SHAPED, Link, Resource, Shaper
from ..resources.shaping import HEADER, LONGEST_BURST, burst_of, ticks

LEAST_PACKETS = 10
"""How many packets of full size a burst has at least that the manifest leaves open: timers are late sometimes."""

LATENCY = 0.05
"""Seconds that a packet waits at most, at rates that are no crawl; what would wait longer is dropped."""

LEAST_QUEUE = 128 << 10
"""Bytes that may wait in any case: two of the packets that the kernel sends in one piece for TCP."""


def wanted(topology: Topology) -> Mapping[str, tuple[Bandwidth, int]]:
    """Return the bandwidth of the endpoints that have one, by path, and their MTU."""
    return {
        endpoint.path: (endpoint.bandwidth, network.mtu)
        for network in topology.networks
        for endpoint in network.endpoints
        if endpoint.bandwidth
    }


def shaped(
    resources: Iterable[Resource], project: str, bandwidths: Mapping[str, tuple[Bandwidth, int]]
) -> Iterator[Resource]:
    """Yield the resources, with what holds up the endpoints' packets.

    Raises DriverError for an endpoint that no driver makes a veth pair for: what is to hold up packets must be where
    nobody in the container gets at it.
    """
    left = dict(bandwidths)
    for one in resources:
        if not isinstance(one, Link) or one.peer is None or one.sandbox != HOST or one.path not in left:
            yield one
            continue
        bandwidth, mtu = left.pop(one.path)
        yield replace(one, tags=(*one.tags, SHAPED))
        if bandwidth.ingress:
            yield _shaper(one.path, bandwidth.ingress, mtu)
        if bandwidth.egress:
            path = one.path + IFB
            yield Link(path, "ifb", HOST, ifb_name(project, path), mac=mac_address(project, path), ipv6=False)
            yield _shaper(path, bandwidth.egress, mtu, redirect=True)
    if left:
        what = "bandwidth needs a veth pair, and its driver makes none"
        raise DriverError("\n".join(f"endpoint {path}: {what}; remove bandwidth" for path in sorted(left)))


def _shaper(path: str, rate: Rate, mtu: int, redirect: bool | None = None) -> Shaper:
    """Return the queue for a rate. Bursts are whole ticks of the kernel's, and hold one packet at least."""
    bits = max(rate.rate // 8 * 8, 8)
    least = mtu + HEADER
    burst = rate.burst or max(bits // 8 // 100, LEAST_PACKETS * least)
    burst = min(max(burst, least), bits // 8 * LONGEST_BURST)
    burst = burst_of(bits, ticks(bits, burst))
    return Shaper(path, bits, burst, min(burst + max(int(bits / 8 * LATENCY), LEAST_QUEUE), 0xFFFFFFFF), redirect)
