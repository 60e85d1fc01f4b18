"""Names, lowered: the files that resolvers read, the resolvers, what containers are told, and who is led to whom.

Where the host is on a network is known by what its driver has made, so that this is the same for every driver.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..firewall import Part
from ..firewall.resolvers import Lookup, resolving
from ..networks import Names, NameUser, Network, Resolver, Topology
from ..resources import HOST, Address, DnsHosts, DnsServer, Key, Link, Netns, ResolvConf, Resource, subject

Near = Mapping[str, Sequence[str]]
"""The host's own addresses on each network, IPv4 first."""


def named(
    topology: Topology, resources: Sequence[Resource], mounted: Collection[str] = ()
) -> Iterator[DnsHosts | DnsServer | ResolvConf]:
    """Yield what finding each other by name takes, beside the firewall's part.

    `mounted` are the containers whose runtime keeps a resolv.conf for them that may be written. Named namespaces have a
    place for one.
    """
    names = topology.names
    if names is None:
        return
    near = _near(resources)
    networks = {network.name: network for network in topology.networks}
    files = {
        one.sandbox: one for one in topology.sandboxes if one.reference.startswith("netns:") or one.sandbox in mounted
    }
    read: set[str] = set()
    for resolver in names.resolvers:
        if server := _server(resolver, names, networks, near):
            read.update(resolver.networks)
            yield server
        for user in resolver.users:
            lines = _lines(user, resolver, near)
            if user.container in files and lines:
                yield _resolv_conf(files[user.container], lines)
    for network in sorted(read):
        yield DnsHosts(network, tuple(" ".join((address, *some)) for address, some in names.records[network]))


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


def _server(resolver: Resolver, names: Names, networks: Mapping[str, Network], near: Near) -> DnsServer | None:
    """Return the dnsmasq; None where the host is on none of the networks, so that nobody could ask it."""
    from ..allocation.names import resolver_name

    listen = [address for network in resolver.networks for address in near.get(network, ())]
    if not listen:
        return None
    subnets = {cidr for name in resolver.networks for cidr in (subnet.cidr for subnet in networks[name].subnets)}
    subnets |= {cidr for name in resolver.networks for cidr in networks[name].whole}
    dotted = {
        name
        for network in resolver.networks
        for _, some in names.records[network]
        for name in some
        if "." in name and not name.endswith(f".{network}")
    }
    return DnsServer(
        name=resolver_name(resolver.networks, resolver.upstream),
        networks=resolver.networks,
        listen=tuple(listen),
        port=resolver.port,
        local=tuple(sorted({*names.records, *dotted})),  # of other networks nobody else knows either
        reverse=tuple(sorted(subnets)),
        upstream=resolver.upstream,
    )


def _lines(user: NameUser, resolver: Resolver, near: Near) -> tuple[str, ...]:
    """Return the lines of a container's resolv.conf: the host's addresses on the first of its networks that has some,
    else the servers that its manifest names, which it then asks itself."""
    first = next((near[network] for network in user.networks if network in near), ())
    servers = [own for like in ("", ":") if (own := _of_family(first, like))]
    if not first and resolver.upstream != DnsServer.HOSTS_OWN:
        servers = list(resolver.upstream)
    if not servers:
        return ()
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(user.search)}"] if user.search else []
    lines += [f"options {' '.join(user.options)}"] if user.options else []
    return tuple(lines)


def _resolv_conf(sandbox: Netns, lines: tuple[str, ...]) -> ResolvConf:
    return ResolvConf(sandbox.sandbox, sandbox.reference, lines)
