"""The way to a service: whoever asks sends to one of its containers, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..firewall import FAMILY, table_name
from ..manifest.words import listed
from ..networks import Service
from ..resources import Key
from . import Way, way
from .ends import End, endpoints
from .situation import HOST_HERE, OUT, Hop, Situation, family_of, host_on
from .ways import APPLY


def ways(start: End, target: End, known: Situation) -> Iterator[Way]:
    """Yield the ways to each container of a service, or the one that ends before."""
    service = next(one for one in known.topology.services if one.name == target.name)
    if closed := _before(start, target, service, known):
        yield Way(target.address, "no", (closed,))
        return
    where = start.name or HOST_HERE
    table = _table(start, known)
    if service.vips and table in known.wrong:
        hop = Hop(where, f"{known.wrong[table]}: who serves is not known", None, APPLY)
        yield Way(target.address, "unknown", (hop,))
        return
    for backend in service.backends:
        for aim in backend.addresses:
            if target.address and family_of(aim) != family_of(target.address):
                continue
            led = any(family_of(one) == family_of(aim) for one in service.vips)
            yield way(start, aim, replace(known, led=led), [Hop(where, _choice(service, aim))])


def _before(start: End, target: End, service: Service, known: Situation) -> Hop | None:
    """Return the hop that ends every way to a service, None where there is none."""
    where = start.name or (HOST_HERE if start.kind == "host" else OUT)
    served = [port.target for port in service.ports if port.protocol == target.protocol]
    if target.port and service.ports and target.port not in served:
        asked = f"{target.port}/{target.protocol}"
        what = f"service {service.name} refuses port {asked}: it serves {listed(served, 'and') or 'none'}"
        return Hop(where, what, False, f"put {target.port} into the service's ports")
    if not service.backends:
        return Hop(where, f"nobody serves {service.name}: none of its containers runs", False, "start one of them")
    network = next(one for one in known.networks if one.name == service.network)
    if start.kind == "container" and start.name not in known.facts.in_host:
        near = any(one.network == service.network for one in endpoints(known.topology, start.name))
        mend = f"attach it to network {service.network}, or publish a port of the service"
    elif start.kind in ("host", "container"):
        near, mend = bool(host_on(network)), "publish a port of the service"
    else:
        near, mend = False, "publish a port of the service, and ask for that: host:PORT"
    if near:
        return None
    return Hop(where, f"is not on network {service.network}, whose service {service.name} is", False, mend)


def _table(start: End, known: Situation) -> Key:
    """Return whose table sends connections to a service's containers: that of who asks."""
    inside = start.kind == "container" and start.name not in known.facts.in_host
    table = f"{FAMILY} {table_name(known.topology.project)}"
    return Key("nft", f"{start.name} {table}" if inside else table)


def _choice(service: Service, aim: str) -> str:
    vip = next((one for one in service.vips if family_of(one) == family_of(aim)), None)
    among = listed([one.container for one in service.backends], "and")
    if vip is None:
        return f"finds the addresses of {among} by the name {service.name}"
    how = "by its own address" if service.affinity else "in turn"
    return f"sends what is for {vip} to {among} {how}"
