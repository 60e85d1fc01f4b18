"""States that a kernel can have, without a manifest, and pairs of them."""

from __future__ import annotations

from hypothesis import strategies as st

from reconciler.resources import (
    HOST,
    Address,
    Link,
    Netns,
    Option,
    Peer,
    Resource,
    Route,
    State,
    Sysctl,
    state,
)

from . import bridges, overlays, services, shaping
from .hosts import CONTAINERS, NETWORKS, nft_table
from .names import resolving


@st.composite
def states(draw: st.DrawFn, crowded: bool = False) -> State:
    """A state that a kernel can have, of up to three networks of any driver with up to three containers on each.

    A `crowded` one has two containers on two networks, so that two of them get into each other's way.
    """
    containers = draw(st.lists(st.sampled_from(CONTAINERS), unique=True, max_size=3))
    networks = draw(st.lists(st.sampled_from(NETWORKS), unique=True, max_size=3))
    if crowded:
        containers, networks = list(CONTAINERS[:2]), list(NETWORKS[:2])
    resources: list[Resource] = [Netns(name, f"netns:{name}") for name in containers]
    bridges = draw(st.permutations(["br0", "br1", "br2"]))
    macs = [f"02:00:00:00:00:{number:02x}" for number in draw(st.permutations(range(9)))]
    names = {name: draw(st.permutations(["eth0", "eth1", "front0"])) for name in containers}
    for number, network in enumerate(networks):
        members = [name for name in containers if crowded or draw(st.booleans())]
        mtu = draw(st.sampled_from([1280, 1400, 1500]))
        links = [
            (name, names[name][number], draw(st.sampled_from([None, macs[number * 3 + place]])))
            for place, name in enumerate(members)
        ]
        if draw(st.booleans()):
            resources += draw(_bridge(network, NETWORKS.index(network), bridges[number], mtu, links))
        else:
            resources += draw(_macvlans(network, NETWORKS.index(network), mtu, links))
    resources += draw(_routes_to_nowhere(sorted({one.inner[0] for one in resources if isinstance(one, Link)} - {HOST})))
    resources += draw(_host_wide())
    resources += draw(resolving(resources))
    return state(draw(services.tables(resources)))


def state_pairs() -> st.SearchStrategy[tuple[State, State]]:
    """Two states to go between."""
    return st.one_of(st.tuples(states(), states()), st.tuples(states(crowded=True), states(crowded=True)))


_Members = list[tuple[str, str, str | None]]
"""Container, interface name, MAC."""

_SETTINGS = ["ipv4.conf.rp_filter", "ipv4.conf.route_localnet", "ipv6.conf.accept_ra"]
_sysctls = st.dictionaries(st.sampled_from(_SETTINGS), st.sampled_from("012"))

_tags = st.sampled_from([(), ("protect",)])


@st.composite
def _bridge(draw: st.DrawFn, network: str, number: int, name: str, mtu: int, members: _Members) -> list[Resource]:
    ours = draw(st.booleans())
    result: list[Resource] = []
    if ours:
        spans = draw(st.sampled_from([None, None, overlays.bridged, overlays.routed]))
        mac = f"02:bb:00:00:00:0{number}" if spans else draw(st.sampled_from([None, f"02:bb:00:00:00:0{number}"]))
        ports = [bridges.port(network)] if number == 0 and draw(st.booleans()) else []
        tags = (*draw(_tags), *(port.tag for port in ports))
        result += [Link(network, "bridge", HOST, name, mtu, mac, ipv6=draw(st.booleans()), tags=tags), *ports]
        result += draw(spans(network, number, mtu)) if spans else []
        result += [Address(network, one) for one in draw(_addresses(number, 1))]
    for place, (container, interface, mac) in enumerate(members):
        result += draw(
            shaping.queues(
                Link(
                    path=f"{container}/{network}",
                    kind="veth",
                    sandbox=HOST,
                    name=f"ve-{container}-{number}",
                    mtu=mtu,
                    master=network if ours else "/canary0",
                    port={"isolated": draw(st.booleans()), "hairpin": draw(st.booleans())},
                    ipv6=False,
                    peer=Peer(container, interface, mtu=mtu, mac=mac, ipv6=draw(st.booleans())),
                    sysctls=draw(_sysctls),
                )
            )
        )
        result += draw(_addressing(f"{container}/{network}", container, number, place))
    return result


@st.composite
def _macvlans(draw: st.DrawFn, network: str, number: int, mtu: int, members: _Members) -> list[Resource]:
    result: list[Resource] = []
    alone = number == 0 and len(members) == 1 and draw(st.booleans())
    mode = "passthru" if alone else draw(st.sampled_from(["bridge", "private", "vepa"]))
    parent = "/eth2" if alone else draw(st.sampled_from(["/eth0", "/eth1"]))
    options: dict[str, Option] = {"mode": mode}
    if draw(st.booleans()):
        options["bc_queue_len"] = draw(st.sampled_from([500, 2000]))
    for place, (container, interface, mac) in enumerate(members):
        path = f"{container}/{network}"
        result.append(
            Link(
                path=path,
                kind="macvlan",
                sandbox=container,
                name=interface,
                mtu=mtu,
                mac=None if alone else mac,
                parent=parent,
                options=options,
                ipv6=draw(st.booleans()),
                sysctls=draw(_sysctls),
                tags=draw(_tags),
            )
        )
        result += draw(_addressing(path, container, number, place))
    return result


def _addresses(number: int, place: int) -> st.SearchStrategy[list[str]]:
    """Addresses in a network's subnets, several of one subnet among them."""
    hosts = [f"10.2{number}.0.1{place}/24", f"10.2{number}.0.2{place}/24", f"10.2{number}.9.1{place}/24"]
    return st.lists(
        st.sampled_from([*hosts, f"fd00:2{number}::1{place}/64", f"fd00:2{number}::2{place}/64"]), unique=True
    )


@st.composite
def _addressing(draw: st.DrawFn, path: str, container: str, number: int, place: int) -> list[Resource]:
    """Addresses of an endpoint, and routes over it whose next hops they reach."""
    addresses = draw(_addresses(number, place))
    result: list[Resource] = [Address(path, one) for one in addresses]
    ways: list[tuple[str, str | None, int]] = [(f"198.51.10{number}.0/24", None, 0), ("203.0.113.0/24", None, number)]
    if any(one.startswith(f"10.2{number}.0.") for one in addresses):
        gateway = f"10.2{number}.0.{draw(st.sampled_from([254, 253]))}"
        ways[0] = (ways[0][0], draw(st.sampled_from([None, gateway])), 0)
        ways += [("0.0.0.0/0", gateway, number), (f"198.18.{number}.0/24", gateway, 0)]
    if any(":" in one for one in addresses):
        ways += [("::/0", f"fd00:2{number}::fe", 1024 + number), (f"2001:db8:{number + 1}::/48", None, 1024)]
    chosen = draw(st.lists(st.sampled_from(ways), unique=True, max_size=3))
    return [*result, *(Route(container, to, via, path, metric) for to, via, metric in chosen)]


@st.composite
def _routes_to_nowhere(draw: st.DrawFn, containers: list[str]) -> list[Resource]:
    kinds = st.sampled_from(["blackhole", "unreachable", "prohibit"])
    return [
        Route(name, to, metric=metric, type=draw(kinds))
        for name in containers
        for to, metric in (("192.0.2.0/24", 0), ("2001:db8:ff::/48", 1024))
        if draw(st.booleans())
    ]


@st.composite
def _host_wide(draw: st.DrawFn) -> list[Resource]:
    result: list[Resource] = []
    if draw(st.booleans()):
        result.append(Sysctl("net.ipv4.ip_forward", "1"))
    if draw(st.booleans()):
        result.append(nft_table(draw(st.sampled_from(["accept", "drop"]))))
    return result
