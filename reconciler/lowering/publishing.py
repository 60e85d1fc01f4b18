"""By which network a container's ports are published, and on which of the host's addresses. Needs no host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..drivers import Traits
from ..manifest.model import ContainerSpec, EndpointSpec, NetworkSpec, PortSpec
from . import outside
from .uppers import host_addresses


class Obstacle(NamedTuple):
    """Why nothing can be published by a network, and what mends it."""

    what: str
    mend: str


def obstacle(spec: NetworkSpec, traits: Traits, family: int) -> Obstacle | None:
    """Return why no port is published by a network in a family (4 or 6), None where one can be."""
    kind = f"network {spec.name} (driver {spec.driver})"
    if traits.in_host:
        return Obstacle(f"what it listens on by {kind} is the host's own", "remove ports: it is reached as it is")
    if not traits.addressed:
        return Obstacle(f"the host does not know its addresses on {kind}", "attach it to a bridge network as well")
    if spec.internal:
        return Obstacle(f"network {spec.name} is internal: nothing in, nothing out", "attach it to another as well")
    if spec.external and not traits.wants_parent:
        what = f"network {spec.name} is external, and its firewall not netapply's"
        return Obstacle(what, "attach it to a network that netapply makes as well")
    if not (spec.enable_ipv4 if family == 4 else spec.enable_ipv6):
        mend = f"give it IPv{family} (enable_ipv{family}: true), or attach the container to another network as well"
        return Obstacle(f"network {spec.name} has no IPv{family}", mend)
    if traits.wants_parent:
        return _by_parent(spec, kind, family)
    options = spec.driver_opts
    if not traits.gateway_on_host:
        return Obstacle(f"{kind} does not lead by the host", "attach it to a bridge network as well")
    if not traits.has_gateway(options, family):
        mend = "use gateway_mode nat or routed, or attach the container to another network as well"
        return Obstacle(f"network {spec.name} is isolated: nothing in, nothing out", mend)
    if not traits.is_gateway(options, family):
        mend = "remove inhibit_gateway, or attach the container to another network as well"
        return Obstacle(f"the host has no address on network {spec.name} (inhibit_gateway)", mend)
    return None


def _by_parent(spec: NetworkSpec, kind: str, family: int) -> Obstacle | None:
    """On a parent link the host reaches the containers by a link of its own, if it has one."""
    given = host_addresses(spec.driver_opts.get("host_access", False))
    if given is None or (given and not any((":" in one) == (family == 6) for one in given)):
        which = "" if given is None else f" by IPv{family}"
        mend = "set host_access: true in its driver_opts, or attach the container to a bridge network as well"
        return Obstacle(f"the host does not reach {kind}{which}", mend)
    return None


def way_in(
    container: ContainerSpec, networks: Mapping[str, tuple[NetworkSpec, Traits]], family: int
) -> EndpointSpec | None:
    """Return the endpoint by which a container's ports are published in a family (4 or 6), None if by none.

    Of those that can be, the one that may bring the default route, by gw_priority and then name, as Docker does.
    """
    able = [
        end
        for end in container.endpoints
        if end.network in networks and obstacle(*networks[end.network], family) is None
    ]
    return min(
        able, key=lambda end: (networks[end.network][0].no_default_route, -end.gw_priority, end.network), default=None
    )


def host_ips(port: PortSpec, network: NetworkSpec, family: int) -> Iterator[str | None]:
    """Yield the host's addresses of a family (4 or 6) that a port is published on; None: all of that family.

    What a network's host_binding has that is no address comes as it is: its driver's `check` refuses it.
    """
    if port.host_ip is not None:
        if (":" in port.host_ip) == (family == 6):
            yield None if port.host_ip in ("0.0.0.0", "::") else port.host_ip
        return
    bound = outside.words(network.driver_opts, "host_binding")
    if not bound:
        yield None
    for spelled in bound:
        if (":" in spelled) == (family == 6):
            from ipaddress import ip_address

            try:
                plain = ip_address(spelled)
            except ValueError:
                yield spelled
                continue
            yield None if plain.is_unspecified else str(plain)
