"""Names in manifests, and what they make of files and resolvers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from reconciler.resources import HOST, Address, DnsHosts, DnsServer, Link, Netns, ResolvConf, Resource

everywhere = st.sampled_from([True, True, False])
"""What a manifest says of names as a whole."""

aliases = st.lists(st.sampled_from(["www", "store", "shop.example"]), unique=True)
"""What an endpoint says of them."""

_servers = st.sampled_from(["192.0.2.53", ["192.0.2.53", "2001:db8::53"]])

container: st.SearchStrategy[Any] = st.one_of(
    _servers,
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "servers": _servers,
            "search": st.sampled_from(["shop.example", ["shop.example", "example"]]),
            "options": st.just(["ndots:2"]),
        },
    ),
)
"""What a container says of them."""


@st.composite
def resolving(draw: st.DrawFn, resources: list[Resource]) -> list[Resource]:
    """Names on the networks that a state has, a resolver where the host has an address, files of containers; resolvers
    in containers' namespaces."""
    found: list[Resource] = []
    own = {one.path for one in resources if isinstance(one, Link) and one.sandbox == HOST and one.peer is None}
    gateways = [one for one in resources if isinstance(one, Address) and one.link in own and ":" not in one.address]
    for place, network in enumerate(sorted({one.link for one in gateways})):
        records = ("10.20.0.10 web web.front", "10.20.0.11 db db.front")
        if "#" in network or not draw(st.booleans()):
            continue
        found.append(DnsHosts(network, draw(st.sampled_from([(), records[:1], records]))))
        if draw(st.booleans()):
            listen = tuple(one.address.partition("/")[0] for one in gateways if one.link == network)
            local = draw(st.sampled_from([(network,), ("shop.example", network)]))
            upstream = draw(st.sampled_from([DnsServer.HOSTS_OWN, (), ("192.0.2.53",)]))
            port = draw(st.sampled_from([24000, 25000])) + place
            found.append(DnsServer(network, (network,), listen, port, local, upstream=upstream))
    for sandbox in (one for one in resources if isinstance(one, Netns)):
        if draw(st.integers(0, 2)) == 0:
            lines = draw(st.sampled_from([("nameserver 10.20.0.1",), ("nameserver 10.20.0.2", "options ndots:2")]))
            found.append(ResolvConf(sandbox.sandbox, sandbox.reference, lines))
        networks = [one.network for one in found if isinstance(one, DnsHosts)]
        if networks and draw(st.integers(0, 2)) == 0:
            known = tuple(sorted(draw(st.sets(st.sampled_from(networks), min_size=1))))
            upstream = draw(st.sampled_from([(), ("192.0.2.53",)]))
            name, inside = sandbox.sandbox, (DnsServer.OWN,)
            server = DnsServer(DnsServer.INSIDE + name, known, inside, DnsServer.OWN_PORT, known, (), upstream, name)
            found.append(server)
    return found
