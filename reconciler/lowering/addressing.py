"""What an endpoint carries whatever its link is: addresses and routes."""

from __future__ import annotations

from collections.abc import Iterator

from ..networks import Endpoint, Network
from ..resources import Address, Route

DEFAULT_METRIC = {4: 0, 6: 1024}
"""What the kernel takes where a route is made without a priority: fib_trie's 0, IP6_RT_PRIO_USER of ipv6_route.h."""


def addressing(endpoint: Endpoint) -> Iterator[Address | Route]:
    """Yield the endpoint's addresses and routes."""
    for address in endpoint.addresses:
        yield Address(endpoint.path, address)
    for route in endpoint.routes:
        family = 6 if ":" in route.destination else 4
        yield Route(
            sandbox=endpoint.sandbox,
            destination=route.destination,
            via=route.via,
            link=endpoint.path if route.type == "unicast" else None,
            metric=DEFAULT_METRIC[family] if route.metric is None else route.metric,
            type=route.type,
        )


def tags(network: Network) -> tuple[str, ...]:
    """Return the tags of the network's links: that it is protected outlives its place in the manifest."""
    return ("protect",) if network.protect else ()
