"""Names, lowered: the files that resolvers read, the resolvers, what containers are told, and who is led to whom.

Where the host is on a network is known by what its driver has made, so that this is the same for every driver. Who is
on no such network has a resolver in its own namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..firewall import Part
from ..firewall.resolvers import Lookup, resolving
from ..host import Facts
from ..networks import Names, NameUser, Network, Resolver, Topology
from ..resources import HOST, Address, DnsHosts, DnsServer, Key, Link, ResolvConf, Resource, subject

Near = Mapping[str, Sequence[str]]
"""The host's own addresses on each network, IPv4 first."""


class _Inside(NamedTuple):
    """A resolver in a namespace: `sandbox` is the first of the containers there. `users` are those that are to ask it,
    `networks` are those of all in there."""

    sandbox: str
    networks: tuple[str, ...]
    upstream: tuple[str, ...]
    users: tuple[NameUser, ...]


def named(
    topology: Topology, resources: Sequence[Resource], facts: Facts
) -> Iterator[DnsHosts | DnsServer | ResolvConf]:
    """Yield what finding each other by name takes, beside the firewall's part.

    Named namespaces have a place for a resolv.conf, and so have the containers in `Facts.resolv_confs`.
    """
    names = topology.names
    if names is None:
        return
    near = _near(resources)
    networks = {network.name: network for network in topology.networks}
    inside = _inside(topology, near, facts)
    servers = [server for resolver in names.resolvers if (server := _near_by(resolver, names, networks, near))]
    servers += [_within(one, names, networks) for one in inside]
    yield from servers
    lines = {
        user.container: _lines(user, gateways)
        for resolver in names.resolvers
        for user in resolver.users
        if (gateways := _gateways(user, near))
    }
    lines |= {user.container: _lines(user, [DnsServer.OWN]) for one in inside for user in one.users}
    for netns in topology.sandboxes:
        if netns.sandbox in lines and (netns.reference.startswith("netns:") or netns.sandbox in facts.resolv_confs):
            yield ResolvConf(netns.sandbox, netns.reference, lines[netns.sandbox])
    for network in sorted({name for server in servers for name in server.networks}):
        yield DnsHosts(network, tuple(" ".join((address, *some)) for address, some in names.records[network]))


def remarks(topology: Topology, desired: Iterable[Resource], facts: Facts) -> Iterator[str]:
    """Yield lines on containers that have no resolver, that are told of none, and whose resolver asks nobody."""
    if topology.names is None:
        return
    near = _near(desired)
    ends = (end for network in topology.networks for end in network.endpoints)
    goes_out = {end.container for end in ends if {"0.0.0.0/0", "::/0"} & {route.destination for route in end.routes}}
    users = _users(topology.names)
    far = {one: wanted for one, (user, wanted) in users.items() if not _gateways(user, near)}
    if without := sorted(one for one in far if one in facts.resolved):
        yield (
            f"no names are found from {', '.join(without)}: {facts.resolved[without[0]]}, and the host has no address"
            " on the networks; run the container without a network of Docker's (--network none)"
        )
    users_there = {one: user for one, (user, _) in users.items() if one not in far or one not in facts.resolved}
    yield from untold(users_there, near, facts)
    alone = {one for one in far if one not in facts.resolved and far[one] == DnsServer.HOSTS_OWN}
    if not facts.upstreams and (deaf := sorted(alone & goes_out)):
        yield (
            f"no names but those of containers are found from {', '.join(deaf)}: the host's own servers are none that"
            " a container can ask (/etc/resolv.conf); give it some (`dns: {servers: ...}`)"
        )


_WHY = {
    "docker": (
        "names are found from {who} only if Docker's own resolver, which stays there, asks {server}: run the container"
        " with `--dns {server}` (Compose: `dns: {server}`), or without a network of Docker's (--network none)"
    ),
    "podman": (
        "no names are found from {who}: Podman's own resolver ({theirs}) stays there; put the container on a network"
        " without one (`podman network create --disable-dns`), or on none (--network none)"
    ),
    "shared": (
        "no names are found from {who}: several containers of the manifest share one namespace or one /etc; write"
        " `nameserver {server}` into the /etc/resolv.conf of each"
    ),
    "theirs": (
        "no names are found from {who}: the /etc/resolv.conf there is none that a runtime keeps or netapply has made;"
        " write `nameserver {server}` into it, or take it away where the image brought it"
    ),
    "none": (
        "no names are found from {who}: there is no /etc/resolv.conf, nor a root file system of its own to make one in;"
        " make one with `nameserver {server}`"
    ),
}


def untold(users: Mapping[str, NameUser], near: Near, facts: Facts) -> Iterator[str]:
    """Yield what keeps containers from finding names though somebody would answer: nobody tells them whom to ask."""
    said: dict[str, list[str]] = {}
    for name, user in sorted(users.items()):
        servers = _gateways(user, near) or [DnsServer.OWN]
        found = facts.unwritten.get(name)
        if found and not (found.why != "podman" and {*servers} & {*found.servers}):
            line = _WHY[found.why].replace("{server}", servers[0]).replace("{theirs}", ", ".join(found.servers))
            lost = [word for word, some in (("search", user.search), ("options", user.options)) if some]
            line += f"; `dns: {{{', '.join(lost)}}}` is told to nobody there" if lost else ""
            said.setdefault(line, []).append(name)
    for line, names in said.items():
        yield f"{line.replace('{who}', ', '.join(names))}; or write `dns: false`"


def part(topology: Topology, resources: Sequence[Resource]) -> Part:
    """Return the firewall's part."""
    if topology.names is None:
        return Part((), {})
    near = _near(resources)
    ends = {(end.container, network.name): end for network in topology.networks for end in network.endpoints}
    lookups = [
        Lookup(source, own, resolver.port)
        for resolver in topology.names.resolvers
        for user in resolver.users
        for network in user.networks
        if (user.container, network) in ends
        for source in (address.partition("/")[0] for address in ends[user.container, network].addresses)
        if (own := _of_family(near.get(network, ()), source)) is not None
    ]
    listening = [
        (address, resolver.port)
        for resolver in topology.names.resolvers
        for network in resolver.networks
        for address in near.get(network, ())
    ]
    return resolving(lookups, listening)


def _near(resources: Iterable[Resource]) -> Near:
    resources = list(resources)
    links = {one.key: one for one in resources if isinstance(one, Link) and one.sandbox == HOST and one.peer is None}
    found: dict[str, list[str]] = {}
    for one in resources:
        if isinstance(one, Address) and Key("link", one.link) in links and not one.address.startswith("fe80:"):
            container, network = subject(one)
            if container is None and network:
                found.setdefault(network, []).append(one.address.partition("/")[0])
    return {network: sorted(some, key=lambda address: ":" in address) for network, some in found.items()}


def _of_family(addresses: Iterable[str], like: str) -> str | None:
    return next((one for one in addresses if (":" in one) == (":" in like)), None)


def _users(names: Names) -> dict[str, tuple[NameUser, tuple[str, ...]]]:
    """Return who looks up names, by container, each with whom it wants to be asked for the rest."""
    return {user.container: (user, resolver.upstream) for resolver in names.resolvers for user in resolver.users}


def _gateways(user: NameUser, near: Near) -> list[str]:
    """Return whom a container is to ask: the host, on the first of its networks that it has an address on."""
    first = next((near[network] for network in user.networks if network in near), ())
    return [own for like in ("", ":") if (own := _of_family(first, like))]


def _inside(topology: Topology, near: Near, facts: Facts) -> list[_Inside]:
    """Return the resolvers in namespaces: one in each where a container is that the host has no address for.

    Containers that share a namespace are on each other's networks, so that it knows the names of all of them.
    """
    users = _users(topology.names) if topology.names else {}
    own = {one.sandbox for one in topology.sandboxes}
    asking: dict[str, list[str]] = {}
    for name, (user, _) in sorted(users.items()):
        if name in own and name not in facts.resolved and not _gateways(user, near):
            asking.setdefault(facts.together.get(name, (name,))[0], []).append(name)
    found: list[_Inside] = []
    for sandbox, members in sorted(asking.items()):
        there = facts.together.get(sandbox, (sandbox,))
        networks = {network for one in there if one in users for network in users[one][0].networks}
        upstream = _upstream([users[one][1] for one in members], facts)
        found.append(_Inside(sandbox, tuple(sorted(networks)), upstream, tuple(users[one][0] for one in members)))
    return found


def _upstream(wanted: Sequence[tuple[str, ...]], facts: Facts) -> tuple[str, ...]:
    """Return whom a resolver in a namespace asks. The host's own loopback addresses are not to be reached there."""
    said = [one for one in wanted if one not in ((), DnsServer.HOSTS_OWN)]
    if said:
        return said[0]
    return facts.upstreams if DnsServer.HOSTS_OWN in wanted else ()


def _near_by(resolver: Resolver, names: Names, networks: Mapping[str, Network], near: Near) -> DnsServer | None:
    """Return the dnsmasq on the host; None where the host is on none of the networks, so that nobody could ask it."""
    from ..allocation.names import resolver_name

    listen = tuple(address for network in resolver.networks for address in near.get(network, ()))
    if not listen:
        return None
    name = resolver_name(resolver.networks, resolver.upstream)
    return _server(
        DnsServer(name, resolver.networks, listen, resolver.port, upstream=resolver.upstream), names, networks
    )


def _within(one: _Inside, names: Names, networks: Mapping[str, Network]) -> DnsServer:
    """Return the dnsmasq in a namespace."""
    server = DnsServer(
        name=f"{DnsServer.INSIDE}{one.sandbox}",
        networks=one.networks,
        listen=(DnsServer.OWN,),
        port=DnsServer.OWN_PORT,
        upstream=one.upstream,
        sandbox=one.sandbox,
    )
    return _server(server, names, networks)


def _server(server: DnsServer, names: Names, networks: Mapping[str, Network]) -> DnsServer:
    """Return a resolver with what it asks nobody for."""
    subnets = {cidr for name in server.networks for cidr in (subnet.cidr for subnet in networks[name].subnets)}
    subnets |= {cidr for name in server.networks for cidr in networks[name].whole}
    dotted = {
        name
        for network in server.networks
        for _, some in names.records[network]
        for name in some
        if "." in name and not name.endswith(f".{network}")
    }
    local = tuple(sorted({*names.records, *dotted}))  # of other networks nobody else knows either
    return replace(server, local=local, reverse=tuple(sorted(subnets)))


def _lines(user: NameUser, servers: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of a container's resolv.conf."""
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(user.search)}"] if user.search else []
    lines += [f"options {' '.join(user.options)}"] if user.options else []
    return tuple(lines)
