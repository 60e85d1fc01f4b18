"""The way to 127.0.0.1 or ::1, which is everybody's own: where published ports, and other containers, are not."""

from __future__ import annotations

from collections.abc import Iterator

from .ends import End, addresses, endpoints, network_of
from .listening import listener
from .situation import HOST_HERE, Hop, Situation, host_on, published


def hops(start: End, target: End, known: Situation) -> Iterator[Hop]:
    """Yield the only hop there is, and what listens if a port is asked for."""
    on_host = start.kind == "host" or start.name in known.facts.in_host
    if not on_host and start.kind != "container":
        yield Hop(str(start), f"has {target.address} itself, and what listens there is not known from here", None)
        return
    sandbox = "" if on_host else start.name
    yield Hop(sandbox or HOST_HERE, f"has {target.address} itself: nothing that it sends there leaves it")
    hop = listener(known, sandbox, target.address, "lo")
    if hop and hop.open is False:
        hop = hop._replace(mend=_meant(sandbox, target, known) or hop.mend)
    if hop:
        yield hop


def _meant(sandbox: str, target: End, known: Situation) -> str:
    """Return the mend where it is a port that the host publishes: the address that is meant; "" where it is none."""
    if not sandbox:
        led = published(known, "127.0.0.1")
        return f"ask 127.0.0.1:{target.port}: published ports can't be had by ::1" if led else ""
    for one in endpoints(known.topology, sandbox):
        for address in host_on(network_of(one, known.networks)):
            if led := published(known, address):
                ends = {aim.address for aim in led.targets}
                names = sorted({end.container for end in endpoints(known.topology) if ends & {*addresses(end)}})
                asked = f"the port is one of the host's: ask {target._replace(address=address)}"
                return asked + (f", or {names[0]} itself" if names else "")
    return ""
