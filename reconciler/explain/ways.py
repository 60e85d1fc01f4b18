"""The way of a packet, hop by hop, and of the answer to it.

All follows from values: the settled networks, what was observed, and the plan, whose changes are what is not as it
should be. Each function yields hops; the first that is closed ends the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from ..lowering.bridging import gateway_mode
from ..networks import Endpoint, Network, Publication
from ..resources import DnsServer, Key
from . import foreign
from .arriving import all_well, at_own_port, filtered, in_turn, listens, resolver_of, to_resolver
from .ends import addresses, endpoints, network_of
from .situation import (
    HOST_HERE,
    OUT,
    Hop,
    Leg,
    Situation,
    family_of,
    has_parent,
    host_on,
    is_addressed,
    is_hosts,
    leads_to,
    leg,
    published,
    same_family,
    source,
)

APPLY = "apply the manifest"


def from_container(situation: Situation, container: str, aim: str) -> Iterator[Hop]:
    """Yield the way from a container to an address."""
    own = [one for one in endpoints(situation.topology, container) if aim in addresses(one)]
    if own:
        yield Hop(container, f"{aim} is its own")
        yield from listens(situation, container, aim, own[0].interface_name)
        return
    if ip_address(aim).is_loopback:
        yield from _to_itself(situation, container, aim)
        return
    way = leg(situation, container, aim)
    yield from _leaving(situation, container, way, aim)
    if way is None or way.type != "unicast":
        return
    network = network_of(way.endpoint, situation.networks)
    step = way.via or aim
    origin = source(way.endpoint, step)
    if origin is None:
        yield Hop(container, f"has no IPv{family_of(aim)} address on network {network.name}", False)
        return
    by = f" by {way.via}" if way.via else ""
    yield Hop(container, f"sends from {origin} ({way.endpoint.interface_name}, network {network.name}) to {aim}{by}")
    yield from on_segment(situation, network, container, step, aim)


def _to_itself(situation: Situation, container: str, aim: str) -> Iterator[Hop]:
    """Yield what a container has at a loopback address: its own resolver may be there."""
    needs = [Key("netns", container)]
    resolver = aim == DnsServer.OWN and situation.port in (0, DnsServer.OWN_PORT)
    if resolver:
        first = min(situation.facts.together.get(container, (container,)))
        needs.append(Key("resolver", DnsServer.INSIDE + first))
    yield from all_well(situation, container, needs)
    yield Hop(container, f"{aim} is its own")
    if not resolver:
        yield from listens(situation, container, aim, foreign.LOOPBACK)


def _leaving(situation: Situation, container: str, way: Leg | None, aim: str) -> Iterator[Hop]:
    """Yield a closed hop where a container can't send to an address."""
    if way is None:
        yield Hop(container, f"has no route to {aim}", False, _no_route(situation, container, aim))
    elif way.type != "unicast":
        what = f"has a route of type {way.type} for {aim}"
        yield Hop(container, what, False, "change the routes of its networks")
    else:
        yield from _there(situation, way.endpoint, aim, [way.route] if way.route else [])


def _there(situation: Situation, endpoint: Endpoint, aim: str, more: Sequence[Key] = ()) -> Iterator[Hop]:
    """Yield a closed hop where something that the endpoint needs is missing, or not as it should be."""
    needs = [Key("netns", endpoint.sandbox), Key("link", endpoint.path), Key("delegated", endpoint.path)]
    needs += [Key("address", f"{endpoint.path} {one}") for one in endpoint.addresses if same_family(one, aim)]
    yield from all_well(situation, endpoint.container, [*needs, *more])


def _no_route(situation: Situation, container: str, aim: str) -> str:
    own = [network_of(one, situation.networks) for one in endpoints(situation.topology, container)]
    if not own:
        return f"attach {container} to a network"
    family = family_of(aim)
    if not any(one.ipv6 if family == 6 else one.ipv4 for one in own):
        return f"none of its networks has IPv{family}: set enable_ipv{family}, or give one a subnet"
    if all(one.internal for one in own):
        return "its networks are internal: attach it to one that is not"
    return "no network of it carries a default route: look for no_default_route and gateway_mode isolated"


def on_segment(situation: Situation, network: Network, sender: str, step: str, aim: str) -> Iterator[Hop]:
    """Yield the way over a network to the next hop `step`, and on from there to `aim`. `sender` is in the network."""
    yield from all_well(situation, HOST_HERE, [Key("link", network.name)])
    there = next((one for one in network.endpoints if step in addresses(one)), None)
    if there is not None:
        yield from _barred(network, sender, there.container)
        if sender != HOST_HERE:
            yield from foreign.bridged(situation, family_of(step), network)
        yield from _there(situation, there, step)
        yield Hop(there.container, f"has {step} ({there.interface_name}, network {network.name})")
        if step == aim:
            yield from listens(situation, there.container, aim, there.interface_name)
        else:
            yield Hop(there.container, "is asked to pass it on, and what it does netapply does not know", None)
    elif step in host_on(network):
        own = [f"{network.name} {one.gateway_address}" for one in network.subnets if one.gateway == step]
        yield from all_well(situation, HOST_HERE, [Key("address", one) for one in own])
        yield from _at_host(situation, network, sender, aim)
    elif any(step in one.addresses for one in network.remotes):
        remote = next(one for one in network.remotes if step in one.addresses)
        yield from _barred(network, sender, remote.container)
        yield Hop(remote.container, f"is on another host, {remote.via}: ask there", None)
    elif has_parent(network):
        yield Hop(OUT, f"{step} is beyond {network.parent.name if network.parent else 'the parent'}", None)
    elif network.options.get("uplink") or network.external or not is_addressed(network):
        yield Hop(OUT, f"nobody of this project has {step}: it may be beyond network {network.name}", None)
    else:
        yield Hop(network.name, f"nobody has {step}", False, "name one of the addresses that there are")


def _barred(network: Network, sender: str, receiver: str) -> Iterator[Hop]:
    """Yield a hop where two endpoints of one network may not talk to each other, or only by way of others."""
    mode, flag = network.options.get("mode", "bridge"), network.options.get("flag", "bridge")
    kind = mode if network.driver == "macvlan" else flag if network.driver == "ipvlan" else ""
    word = "mode" if network.driver == "macvlan" else "flag"
    if kind == "private":
        yield Hop(
            network.name, f"is private: {sender} and {receiver} never reach each other", False, f"use {word} bridge"
        )
    elif kind == "vepa":
        yield Hop(network.name, "is vepa: whether the switch sends it back is not known here", None)
    elif not kind and sender != HOST_HERE and not network.options.get("icc", True):
        yield Hop(network.name, f"has icc false: {sender} can't reach {receiver}", False, "set driver_opts.icc true")


def _at_host(situation: Situation, network: Network, sender: str, aim: str) -> Iterator[Hop]:
    """Yield what the host does with what comes from a network: it is for itself, or is passed on."""
    if is_hosts(situation, aim):
        yield from _own(situation, aim, network)
        return
    yield from _forwards(situation, aim)
    other = next((one for one in situation.networks if leads_to(one, aim)), None)
    if other is None:
        yield from _not_on(situation, aim)
        yield from _out(situation, network, aim)
        return
    yield from _crossing(situation, network, other, family_of(aim), new=True)
    yield from on_segment(situation, other, sender if other is network else HOST_HERE, aim, aim)


def _own(situation: Situation, aim: str, came_by: Network | None, *, local: bool = False) -> Iterator[Hop]:
    """Yield what the host does with what is for itself: it may lead to a container.

    `came_by` is whose network, None: it comes from outside, or with `local` from the host.
    """
    found = published(situation, aim)
    link = foreign.LOOPBACK if local else came_by
    if found is None:
        resolver = None if local else resolver_of(situation, aim)
        if local:
            yield from foreign.sending(situation, family_of(aim), link)
        yield from foreign.entering(situation, family_of(aim), link, led=resolver.port if resolver else 0)
        if resolver:
            yield from to_resolver(situation, resolver, aim)
        else:
            yield from at_own_port(situation, aim, came_by, local=local)
        yield from foreign.sending(situation, family_of(aim), link, begins=False)
        if local:
            yield from foreign.entering(situation, family_of(aim), link, begins=False)
        return
    yield from _published(situation, aim, found, came_by, local=local)


def _published(
    situation: Situation, aim: str, found: Publication, came_by: Network | None, *, local: bool
) -> Iterator[Hop]:
    """Yield where a published port leads."""
    target = found.targets[0]
    if local:
        yield from foreign.sending(situation, family_of(aim), foreign.LOOPBACK, led=target.port)
    more = len(found.targets) - 1
    others = f" (and {more} other{'s' if more > 1 else ''} in turn)" if more else ""
    yield from _forwards(situation, target.address)
    leads = f"leads {aim} port {found.port} to port {target.port} of {target.address}, which is {found.owner}'s{others}"
    yield Hop(HOST_HERE, leads)
    network = next(
        (one for one in situation.networks if any(target.address in addresses(end) for end in one.endpoints)), None
    )
    if network is None:
        yield Hop(OUT, f"{target.address} is on another host: ask there", None)
        return
    if came_by is not None:
        yield from _barred_by_host(came_by, network, family_of(aim))
    if not local:
        yield from foreign.passing(situation, family_of(aim), came_by, network, led=target.port)
    there = replace(situation, port=target.port)
    yield from on_segment(there, network, HOST_HERE, target.address, target.address)
    for one in found.targets[1:]:
        yield from in_turn(situation, one)


def _barred_by_host(came_by: Network, network: Network, family: int) -> Iterator[Hop]:
    """Yield a closed hop where a network's containers may not reach what is published by another, or by itself."""
    if came_by is network and not network.options.get("icc", True):
        yield Hop(HOST_HERE, f"drops it: network {network.name} has icc false", False, "set driver_opts.icc true")
    elif came_by.internal or gateway_mode(came_by.options, family) == "isolated":
        why = "internal" if came_by.internal else "isolated"
        what = f"drops it: network {came_by.name} is {why}, and its packets do not pass the host"
        yield Hop(HOST_HERE, what, False, "attach both to one network")


def _not_on(situation: Situation, aim: str) -> Iterator[Hop]:
    """Yield a closed hop where an address is on a network of the project that the host has no part in."""
    for network in situation.networks:
        if any(aim in addresses(one) for one in network.endpoints):
            what = f"is not on network {network.name}, where {aim} is"
            yield Hop(HOST_HERE, what, False, "attach both to one network")
            return


def _forwards(situation: Situation, aim: str) -> Iterator[Hop]:
    """Yield a hop where the host does not forward at all, or its firewall is not what it should be."""
    yield from filtered(situation)
    family = family_of(aim)
    name = "net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding"
    on = situation.facts.forwarding_ipv4 if family == 4 else situation.facts.forwarding_ipv6
    if not on:
        yield Hop(HOST_HERE, f"does not forward IPv{family} ({name} is 0)", False, APPLY)


def _crossing(situation: Situation, one: Network, other: Network, family: int, *, new: bool) -> Iterator[Hop]:
    """Yield what the firewall says of packets between two networks; `new`: of a connection that begins."""
    pair = (one.name, other.name)
    if one is other:
        return
    if pair in situation.opened or (not new and pair[::-1] in situation.opened):
        yield from foreign.passing(situation, family, one, other, begins=new)
        what = f"lets network {one.name} reach network {other.name}, which `allow` says"
        yield Hop(HOST_HERE, what if new else f"lets the answer through to network {other.name}")
        return
    inner = next((net.name for net in (one, other) if net.internal), None)
    mend = f"attach both to one network, or put {other.name} into `allow` of network {one.name}"
    if inner:
        what, mend = f"drops it: network {inner} is internal", "attach both to one network"
    else:
        what = f"drops it: network {one.name} may not open connections to network {other.name}"
    yield Hop(HOST_HERE, what, False, mend)


def _out(situation: Situation, network: Network, aim: str) -> Iterator[Hop]:
    """Yield what becomes of what leaves a network for somewhere else than the project's networks."""
    family = family_of(aim)
    mode = gateway_mode(network.options, family)
    if network.internal:
        yield Hop(HOST_HERE, f"drops it: network {network.name} is internal", False, "use a network that is not")
        return
    if mode == "isolated":
        yield Hop(HOST_HERE, f"drops it: network {network.name} is isolated", False, "use another gateway_mode")
        return
    link = foreign.leaving(situation, aim, network)
    if isinstance(link, Hop):
        yield link
        return
    yield from foreign.passing(situation, family, network, link)
    yield from foreign.passing(situation, family, link, network, begins=False)
    owner = situation.facts.links[link].owner
    if owner is not None:
        yield Hop(HOST_HERE, f"passes it to project {owner}, which says whether it goes on", None)
    elif mode == "nat" and network.options.get("masquerade", True):
        yield Hop(HOST_HERE, f"sends it on by {link} with an address of its own")
    else:
        yield Hop(HOST_HERE, f"sends it on by {link}; the answer needs a route back to network {network.name}")


def from_host(situation: Situation, aim: str) -> Iterator[Hop]:
    """Yield the way from the host to an address."""
    if is_hosts(situation, aim):
        yield from _own(situation, aim, None, local=True)
        return
    for network in situation.networks:
        here = any(aim in addresses(one) for one in network.endpoints)
        if not here and not any(aim in one.addresses for one in network.remotes):
            continue
        own = [one for one in host_on(network) if same_family(one, aim)]
        if not own:
            what, mend = _no_access(network, aim)
            yield Hop(HOST_HERE, what, False, mend)
            return
        yield Hop(HOST_HERE, f"sends from {own[0]} to {aim} on network {network.name}")
        yield from foreign.sending(situation, family_of(aim), network)
        yield from on_segment(situation, network, HOST_HERE, aim, aim)
        return
    link = foreign.leaving(situation, aim, None, local=True)
    if isinstance(link, Hop):
        yield link
    else:
        yield from foreign.sending(situation, family_of(aim), link)
        yield Hop(HOST_HERE, f"sends to {aim} by {link}")
        yield from foreign.entering(situation, family_of(aim), link, begins=False)


def _no_access(network: Network, aim: str) -> tuple[str, str]:
    if has_parent(network):
        what = f"does not reach {aim}: a {network.driver} link and its parent do not reach each other"
        return what, "set driver_opts.host_access"
    what = f"has no IPv{family_of(aim)} address on network {network.name}"
    return what, "use gateway_mode nat or routed, and no inhibit_gateway"


def from_outside(situation: Situation, aim: str) -> Iterator[Hop]:
    """Yield the way of what comes from outside to an address."""
    if is_hosts(situation, aim) and not any(aim in host_on(one) for one in situation.networks):
        yield from _own(situation, aim, None)
        return
    network = next((one for one in situation.networks if any(aim in addresses(end) for end in one.endpoints)), None)
    if network is None:
        yield Hop(OUT, f"what becomes of {aim} is not this project's to say", None)
        return
    if has_parent(network):
        yield Hop(OUT, f"reaches {aim} over {network.parent.name if network.parent else 'the parent'}", None)
        return
    yield from _in(situation, network, aim)
    yield from on_segment(situation, network, HOST_HERE, aim, aim)


def _in(situation: Situation, network: Network, aim: str) -> Iterator[Hop]:
    """Yield what the host does with what comes from outside for a network's container."""
    mode = gateway_mode(network.options, family_of(aim))
    if network.internal:
        yield Hop(HOST_HERE, f"drops it: network {network.name} is internal", False, "use a network that is not")
    elif mode == "isolated":
        yield Hop(HOST_HERE, f"drops it: network {network.name} is isolated", False, "use another gateway_mode")
    elif mode == "nat":
        what = f"drops it: network {network.name} is in mode nat, which lets nobody in by containers' addresses"
        yield Hop(HOST_HERE, what, False, "publish a port, set gateway_mode routed, or name trusted_interfaces")
    else:
        yield from _forwards(situation, aim)
        yield from foreign.passing(situation, family_of(aim), None, network)
        yield Hop(HOST_HERE, f"passes on what comes for {aim}: network {network.name} is in mode routed")


def answer(
    situation: Situation,
    container: str,
    came_by: Network | None,
    origin: str,
    *,
    led: bool = False,
    local: bool = False,
) -> Iterator[Hop]:
    """Yield the way of a container's answer to `origin`; `came_by` is the network where the connection began.

    None: it began outside, or at the host (`local`). `led`: by a published port, so that the host passes the answer on.
    """
    way = leg(situation, container, origin)
    yield from _leaving(situation, container, way, origin)
    if way is None or way.type != "unicast":
        return
    network = network_of(way.endpoint, situation.networks)
    yield Hop(container, f"answers {origin} by {way.endpoint.interface_name} (network {network.name})")
    receiver = next((one for one in network.endpoints if origin in addresses(one)), None) if way.via is None else None
    if receiver:
        yield from _barred(network, container, receiver.container)
        yield from foreign.bridged(situation, family_of(origin), network, begins=False)
    elif local:
        known = replace(situation, origin="") if led else situation
        yield from foreign.entering(known, family_of(origin), network, begins=False)
    elif led:
        yield from foreign.passing(situation, family_of(origin), network, came_by, begins=False)
    elif way.via in host_on(network) and came_by is not None:
        yield from _crossing(situation, network, came_by, family_of(origin), new=False)
    elif way.via in host_on(network):
        yield from foreign.passing(situation, family_of(origin), network, came_by, begins=False)
