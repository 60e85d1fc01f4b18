"""What becomes of a packet where it arrives: who listens there, in a container or on the host itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from ..allocation.names import resolver_name
from ..firewall import FAMILY, table_name
from ..networks import Network, Resolver, Target
from ..resources import DnsServer, Key
from . import foreign
from .ends import addresses, endpoints
from .listening import listener
from .situation import HOST_HERE, Hop, Situation, host_on


def all_well(situation: Situation, where: str, needs: Sequence[Key]) -> Iterator[Hop]:
    """Yield a closed hop for the first of the needed things that can't do its part."""
    for key in needs:
        if key in situation.wrong:
            yield Hop(where, situation.wrong[key], False, foreign.APPLY)
            return


def filtered(situation: Situation) -> Iterator[Hop]:
    """Yield a hop where the project's firewall is not what it should be."""
    table = Key("nft", f"{FAMILY} {table_name(situation.topology.project)}")
    if table in situation.wrong:
        yield Hop(HOST_HERE, f"{situation.wrong[table]}: what passes is not known", None, foreign.APPLY)


def listens(situation: Situation, container: str, address: str, link: str | None) -> Iterator[Hop]:
    """Yield who listens at the port that is asked for, in a container."""
    sandbox = "" if container in situation.facts.in_host else container
    if (hop := listener(situation, sandbox, address, link)) is not None:
        yield hop


def in_turn(situation: Situation, target: Target) -> Iterator[Hop]:
    """Yield a hop where nothing listens at another of those that a published port leads to in turn."""
    for one in endpoints(situation.topology):
        if target.address in addresses(one):
            hops = listens(replace(situation, port=target.port), one.container, target.address, one.interface_name)
            yield from (hop for hop in hops if hop.open is not True)


def at_own_port(situation: Situation, aim: str, came_by: Network | None, *, local: bool) -> Iterator[Hop]:
    """Yield what the host has at an address at which it does not publish the port that is asked for."""
    if not situation.port:
        yield Hop(HOST_HERE, f"has {aim}")
        return
    asked = f"{situation.port}/{situation.protocol}"
    if who := foreign.led_away(situation, aim, came_by):
        yield Hop(HOST_HERE, f"has {aim}, and {who} may lead port {asked} elsewhere", None)
        return
    names = situation.topology.names
    if not local and names and situation.port in {one.port for one in names.resolvers}:
        what = f"drops it: port {asked} is a resolver's, which is asked at port {DnsServer.OWN_PORT}"
        yield Hop(HOST_HERE, what, False, f"ask at port {DnsServer.OWN_PORT}")
        return
    yield Hop(HOST_HERE, f"has {aim}, and publishes no port {asked} there")
    link = _link_with(situation, aim) if local else foreign.link_of(came_by)
    if (hop := listener(situation, "", aim, link)) is not None:
        publish = "publish it: `ports` of a container, or of a service"
        yield hop._replace(mend=f"{publish}; or {hop.mend}") if hop.what.startswith("nothing") else hop


def _link_with(situation: Situation, address: str) -> str | None:
    """Return the link that has an address of the host's: what the host sends itself comes in by that for a socket."""
    if ip_address(address).is_loopback:
        return foreign.LOOPBACK
    network = next((one for one in situation.networks if address in host_on(one)), None)
    links = situation.facts.links.values()
    theirs = (one.name for one in links if address in (its.partition("/")[0] for its in one.addresses))
    return foreign.link_of(network) if network else next(theirs, None)


def resolver_of(situation: Situation, aim: str) -> Resolver | None:
    """Return the resolver of who asks, where what is asked at an address of the host's is led to it."""
    names = situation.topology.names
    if names is None or situation.port != DnsServer.OWN_PORT or situation.protocol not in ("tcp", "udp"):
        return None
    own = {one.name: host_on(one) for one in situation.networks}
    if not any(aim in own[network] for one in names.resolvers for network in one.networks):
        return None
    who = {one.container for one in endpoints(situation.topology) if situation.origin in addresses(one)}
    able = (one for one in names.resolvers if any(own[network] for network in one.networks))
    return next((one for one in able if any(user.container in who for user in one.users)), None)


def to_resolver(situation: Situation, resolver: Resolver, aim: str) -> Iterator[Hop]:
    """Yield the way of a question to the resolver of who asks."""
    yield from filtered(situation)
    yield from all_well(situation, HOST_HERE, [Key("resolver", resolver_name(resolver.networks, resolver.upstream))])
    yield Hop(HOST_HERE, f"leads {aim} port {situation.port} to the resolver of who asks")
