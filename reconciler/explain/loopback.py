"""The way to 127.0.0.1 or ::1, which is everybody's own: where published ports, and other containers, are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .ends import End, addresses, endpoints, network_of
from .listening import listener
from .situation import HOST_HERE, Hop, Situation, family_of, host_on, published


def hops(start: End, target: End, known: Situation) -> Iterator[Hop]:
    """Yield the only hop there is, and what listens if a port is asked for."""
    inside = start.kind == "container" and start.name not in known.facts.in_host
    if start.kind != "host" and start.name not in known.facts.in_host and not inside:
        yield Hop(str(start), f"has {target.address} itself, and what listens there is not known from here", None)
        return
    where = start.name if inside else HOST_HERE
    yield Hop(where, f"has {target.address} itself: nothing that it sends there leaves it")
    hop = listener(
        replace(known, port=target.port, protocol=target.protocol), start.name if inside else "", target.address, "lo"
    )
    if hop is not None:
        yield hop._replace(mend=_instead(start, target, known, inside=inside) or hop.mend) if hop.open is False else hop


def _instead(start: End, target: End, known: Situation, *, inside: bool) -> str:
    """Return the mend where the port is published, or is a container's own: the address that is meant."""
    asked = replace(known, port=target.port, protocol=target.protocol)
    port = target.port
    if not inside:
        return f"ask 127.0.0.1:{port}: published ports can't be had by ::1" if published(asked, "127.0.0.1") else ""
    for one in endpoints(known.topology, start.name):
        for address in host_on(network_of(one, known.networks)):
            if published(asked, address):
                told = f"[{address}]:{port}" if family_of(address) == 6 else f"{address}:{port}"
                led = {aim.address for aim in published(asked, address).targets}  # type: ignore[union-attr]
                names = sorted({end.container for end in endpoints(known.topology) if led & {*addresses(end)}})
                return f"the port is one of the host's: ask {told}" + (f", or {names[0]} itself" if names else "")
    return ""
