"""Everything random that the tests use, in one place: states, manifests, pairs of them, foreign objects.

A new option of a manifest or a field of a resource joins it here, and all properties hold for it from then on.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from reconciler.host.fake import FakeHost
from reconciler.host.fake_kernel import Device, Hop
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Topology
from reconciler.resources import (
    HOST,
    ROUTE_PROTOCOL,
    Address,
    Link,
    Netns,
    NftTable,
    Option,
    Peer,
    Resource,
    Route,
    State,
    Sysctl,
    state,
)

PARENTS = ("eth0", "eth1", "eth2")
"""Links of the host that macvlans stand on; eth2 is for passthru, which wants a parent for itself."""

CONTAINERS = ("web", "db", "api")
NETWORKS = ("front", "back", "lan")
Document = dict[str, Any]


def new_host(trap: Any = None, batch: int = 1) -> FakeHost:
    """Return a host as a machine has it: three network cards, an address, a default route, IPv4 forwarding off."""
    host = FakeHost(trap, batch)
    for number, name in enumerate(PARENTS):
        mac = f"02:aa:00:00:00:0{number}"
        host.kernel.host.devices[name] = Device(host.kernel.host, name, "", 1500, mac, up=True)
        host.kernel.sysctls[f"net.ipv6.conf.{name}.accept_ra"] = "0"
    outside = host.kernel.host.devices["eth0"]
    host.kernel.add_address(outside, "192.0.2.10/24")
    host.kernel.add_route(host.kernel.host, Hop("0.0.0.0/0", 0, "192.0.2.1", outside))
    return host


# Desired states, without a manifest


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
    return state(resources)


def state_pairs() -> st.SearchStrategy[tuple[State, State]]:
    """Two states to go between."""
    return st.one_of(st.tuples(states(), states()), st.tuples(states(crowded=True), states(crowded=True)))


_Members = list[tuple[str, str, str | None]]
"""Container, interface name, MAC."""

_sysctls = st.dictionaries(st.sampled_from(["ipv4.conf.rp_filter", "ipv6.conf.accept_ra"]), st.sampled_from("012"))
_tags = st.sampled_from([(), ("protect",)])


@st.composite
def _bridge(draw: st.DrawFn, network: str, number: int, name: str, mtu: int, members: _Members) -> list[Resource]:
    ours = draw(st.booleans())
    result: list[Resource] = []
    if ours:
        mac = draw(st.sampled_from([None, f"02:bb:00:00:00:0{number}"]))
        result.append(Link(network, "bridge", HOST, name, mtu, mac, ipv6=draw(st.booleans()), tags=draw(_tags)))
        result += [Address(network, one) for one in draw(_addresses(number, 1))]
    for place, (container, interface, mac) in enumerate(members):
        result.append(
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


def nft_table(verdict: str, project: str = "shop") -> NftTable:
    """Return a project's table as nft lists it, with one chain of one verdict."""
    name, comment = f"netapply-{project}", f'\tcomment "netapply:{project}"\n'
    chain = f"\tchain forward {{\n\t\ttype filter hook forward priority filter; policy accept;\n\t\t{verdict}\n\t}}\n"
    return NftTable("inet", name, f"table inet {name} {{\n{comment}{chain}}}\n")


# Foreign objects


@st.composite
def foreign(draw: st.DrawFn) -> Foreign:
    """What others have on the host and in a namespace named "theirs"."""
    return Foreign(
        ports=draw(st.integers(0, 2)),
        addresses=tuple(draw(st.lists(st.sampled_from(["203.0.113.1/24", "2001:db8:9::1/64"]), unique=True))),
        processes=draw(st.booleans()),
        project=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Foreign:
    """Canaries: a bridge `canary0` with ports, a namespace, and perhaps another project's things."""

    ports: int = 1
    addresses: tuple[str, ...] = ()
    processes: bool = False
    project: bool = False

    def make(self, host: FakeHost) -> None:
        kernel = host.kernel
        theirs = kernel.space()
        kernel.set_up(theirs.devices["lo"], True)
        kernel.bind("theirs", theirs)
        bridge = kernel.add_link(kernel.host, "canary0", "bridge")
        kernel.set_up(bridge, True)
        for address in self.addresses:
            kernel.add_address(bridge, address)
        for number in range(self.ports):
            peer = (theirs, f"port{number}", None, None)
            port = kernel.add_link(kernel.host, f"canary-port{number}", "veth", peer=peer)
            kernel.set_master(port, bridge)
        if self.processes:
            kernel.pids[4242] = theirs
        if self.project:
            other = nft_table("drop", "other")
            kernel.tables[other.family, other.name] = other.text
            link = kernel.add_link(kernel.host, "other-net", "bridge", group=0x6E6170)
            kernel.set_alias(link, "netapply:other/net")


def canaries(host: FakeHost) -> Mapping[str, object]:
    """Return what a host has that is not project shop's, to compare before and after."""
    spaces = {"": host.kernel.host, **host.kernel.names}
    return {
        "links": {
            f"{label} {one.name}": (
                one.kind,
                one.mtu,
                one.mac,
                one.up,
                one.master and one.master.name,
                dict(one.addresses),
            )
            for label, space in spaces.items()
            if not _is_ours(space.devices["lo"])
            for one in space.devices.values()
            if not _is_ours(one) and not _is_ours(one.peer)
        },
        "routes": {
            (label, key): hop
            for label, space in spaces.items()
            for key, hop in space.routes.items()
            if hop.protocol != ROUTE_PROTOCOL
        },
        "tables": {key: text for key, text in host.kernel.tables.items() if key[1] == "netapply-other"},
    }


def _is_ours(device: Device | None) -> bool:
    return device is not None and (device.alias or "").startswith("netapply:shop/")


# Manifests


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A valid manifest of project shop as a document: networks of all drivers, containers with all they can have."""
    networks = {name: draw(_network(number, name)) for number, name in enumerate(NETWORKS) if draw(st.booleans())}
    networks |= {name: {"driver": "none"} for name in ("nothing",) if draw(st.integers(0, 3)) == 0}
    containers = {}
    for place, name in enumerate(CONTAINERS):
        if draw(st.integers(0, 3)):
            containers[name] = draw(_container(networks, place))
    return _settled({"version": 1, "project": "shop", "networks": networks, "containers": containers})


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Document, Document]:
    """Two manifests that share parts: networks, containers, endpoints, options."""
    first, other = draw(documents()), draw(documents())
    second = copy.deepcopy(first)
    for section in ("networks", "containers"):
        for name in {*first[section], *other[section]}:
            match draw(st.sampled_from(["as it was", "as it was", "other", "none", "an option"])):
                case "other" if name in other[section]:
                    second[section][name] = copy.deepcopy(other[section][name])
                case "none":
                    second[section].pop(name, None)
                case "an option" if name in first[section] and name in other[section]:
                    _take_over_one(draw, second[section][name], other[section][name])
    return first, _settled(second)


def _take_over_one(draw: st.DrawFn, mine: Document, theirs: Document) -> None:
    """Take one key's value from another network or container; the driver comes with its options and subnets."""
    key = draw(st.sampled_from(sorted({*mine, *theirs} - {"driver", "driver_opts", "external"}) or ["labels"]))
    if mine.get("driver") == theirs.get("driver") and mine.get("external") == theirs.get("external"):
        mine.pop(key, None)
        if key in theirs:
            mine[key] = copy.deepcopy(theirs[key])


@st.composite
def _network(draw: st.DrawFn, number: int, name: str) -> Document:
    result: Document = {}

    def perhaps(key: str, values: st.SearchStrategy[Any], odds: int = 3) -> None:
        if draw(st.integers(0, odds)) == 0:
            result[key] = draw(values)

    configs: list[Document] = [{"subnet": f"10.2{number}.0.0/24"}, {"subnet": f"fd00:2{number}::/64"}]
    if draw(st.booleans()):
        configs[0] |= {"gateway": f"10.2{number}.0.254", "ip_range": f"10.2{number}.0.128/25"}
    if draw(st.booleans()):
        configs[1] |= {"aux_addresses": {"printer": f"fd00:2{number}::9"}}
    families = draw(st.sampled_from([(0,), (0, 1), (1,), ()]))
    if families:
        result["ipam"] = {"config": [configs[family] for family in families]}
        result["enable_ipv4"] = 0 in families
    perhaps("mtu", st.sampled_from([1280, 1400, 1500]))
    perhaps("no_default_route", st.booleans())
    perhaps("metric", st.sampled_from([50, 2000]))
    perhaps("labels", st.just({"team": "shop"}))
    perhaps("internal", st.booleans())
    if 0 in families:
        ways: list[Document] = [
            {"destination": f"198.51.10{number}.0/24"},
            {"destination": f"198.18.{number}.0/24", "via": f"10.2{number}.0.77", "metric": 7},
            {"destination": f"192.0.2.{number}/32", "type": "blackhole"},
        ]
        perhaps("routes", st.lists(st.sampled_from(ways), unique_by=lambda way: way["destination"]))
    match draw(st.sampled_from(["bridge", "bridge", "bridge", "external", "macvlan", "passthru"])):
        case "bridge":
            result |= {"driver": "bridge", "driver_opts": draw(_bridge_options(number))}
            perhaps("allow", st.lists(st.sampled_from([one for one in NETWORKS if one != name]), unique=True))
        case "external":
            result |= {"driver": "bridge", "external": True, "driver_opts": {"name": "canary0"}}
        case "passthru" if number == 0:
            result |= {"driver": "macvlan", "driver_opts": {"parent": "eth2", "mode": "passthru"}}
        case _:
            result |= {"driver": "macvlan", "driver_opts": draw(_macvlan_options())}
    return result


def _bridge_options(number: int) -> st.SearchStrategy[Document]:
    modes = st.sampled_from(["nat", "routed", "isolated"])
    return st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from([f"shopbr{number}", f"otherbr{number}"]),
            "icc": st.booleans(),
            "masquerade": st.booleans(),
            "gateway_mode": modes,
            "gateway_mode_ipv4": modes,
            "gateway_mode_ipv6": modes,
            "hairpin": st.booleans(),
            "inhibit_gateway": st.booleans(),
        },
    )


def _macvlan_options() -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(
        {"parent": st.sampled_from(["eth0", "eth1"])},
        optional={
            "mode": st.sampled_from(["bridge", "private", "vepa"]),
            "bc_queue_len": st.sampled_from([500, 2000]),
        },
    )


@st.composite
def _container(draw: st.DrawFn, networks: Mapping[str, Document], place: int) -> Document:
    result: Document = {}
    if place == 0 and draw(st.booleans()):
        result["sandbox"] = draw(st.sampled_from([{"netns": "theirs", "create": False}, {"netns": "shop-web"}]))
    if draw(st.integers(0, 5)) == 0:
        result["labels"] = {"tier": "web"}
    members = [name for name in networks if draw(st.integers(0, 2))]
    if draw(st.booleans()):
        result["networks"] = members
        return result
    names = draw(st.permutations(["if0", "if1", "eth0", "eth7"]))
    result["networks"] = {
        name: draw(_endpoint(NETWORKS.index(name), place, names[number])) if name in NETWORKS else {}
        for number, name in enumerate(members)
    }
    return result


def _endpoint(number: int, place: int, name: str) -> st.SearchStrategy[Document]:
    ours = 10 + place
    ipv4, ipv6 = f"10.2{number}.0.{ours}", f"fd00:2{number}::{ours}"
    values = st.integers(0, 2)
    return st.fixed_dictionaries(
        {},
        optional={
            "ipv4_address": st.sampled_from([ipv4, [ipv4, f"10.2{number}.0.{ours + 20}"]]),
            "ipv6_address": st.sampled_from([ipv6, [ipv6, f"fd00:2{number}::{ours + 20}"]]),
            "mac_address": st.sampled_from([f"02:00:00:00:0{number}:{ours}", f"02:00:00:00:1{number}:{ours}"]),
            "interface_name": st.just(name),
            "gw_priority": st.integers(-1, 100),
            "link_local_ips": st.sampled_from([[f"169.254.7.{ours}"], [f"fe80::{ours}"]]),
            "sysctls": st.fixed_dictionaries(
                {}, optional={"net.ipv4.conf.IFNAME.rp_filter": values, "net.ipv6.conf.IFNAME.accept_ra": values}
            ),
        },
    )


def _settled(document: Document) -> Document:
    """Return the document with what contradicts itself taken out: what is valid alone is not always so together."""
    networks, containers = document["networks"], document["containers"]
    filtered = {
        name
        for name, one in networks.items()
        if one["driver"] == "bridge" and not one.get("external") and not one.get("internal")
    }
    for name, network in networks.items():
        if "allow" in network:
            network["allow"] = [other for other in network["allow"] if other in filtered and name in filtered]
        if network.get("external"):
            network.pop("internal", None)
            network.pop("mtu", None)
        families = {6 if ":" in one["subnet"] else 4 for one in network.get("ipam", {}).get("config", [])}
        if families:
            network["enable_ipv4"] = 4 in families
        else:
            network.pop("enable_ipv4", None)
        if 4 not in families:
            network.pop("routes", None)
        for container in containers.values():
            _fit(container, name, network, families)
    for container in containers.values():
        members = container["networks"]
        for name in [name for name in members if name not in networks]:
            members.pop(name) if isinstance(members, dict) else members.remove(name)
        if len(members) > 1 and "nothing" in members:
            members.pop("nothing") if isinstance(members, dict) else members.remove("nothing")
    _leave_one(document)
    return document


def _fit(container: Document, name: str, network: Document, families: set[int]) -> None:
    """Take out of an endpoint what its network has no room for."""
    members = container["networks"]
    if not isinstance(members, dict) or name not in members:
        return
    endpoint = members[name]
    for family, key in ((4, "ipv4_address"), (6, "ipv6_address")):
        if family not in families:
            endpoint.pop(key, None)
    if network["driver"] == "none":
        endpoint.clear()
    if network.get("driver_opts", {}).get("mode") == "passthru":
        endpoint.pop("mac_address", None)


def _leave_one(document: Document) -> None:
    """Leave one container on a passthru network."""
    for name, network in document["networks"].items():
        if network.get("driver_opts", {}).get("mode") == "passthru":
            on_it = [one["networks"] for one in document["containers"].values() if name in one["networks"]]
            for members in on_it[1:]:
                members.pop(name) if isinstance(members, dict) else members.remove(name)


def pinned(document: Document, topology: Topology) -> Document:
    """Return the document with all that was chosen for it written down: subnets, gateways, addresses, names."""
    result = copy.deepcopy(document)
    for network in topology.networks:
        ours = result["networks"][network.name]
        if network.subnets and not network.external:
            configs = ours.setdefault("ipam", {}).setdefault(
                "config", [{"subnet": one.cidr} for one in network.subnets]
            )
            for config, subnet in zip(configs, network.subnets, strict=True):
                if subnet.gateway:
                    config["gateway"] = subnet.gateway
        for endpoint in network.endpoints:
            container = result["containers"][endpoint.container]
            if isinstance(container["networks"], list):
                container["networks"] = {name: {} for name in container["networks"]}
            given = container["networks"][network.name]
            for family, sign in ((4, "."), (6, ":")):
                addresses = [one.partition("/")[0] for one in endpoint.addresses if sign in one]
                chosen = [one for one in addresses if not one.startswith(("fe80:", "169.254."))]
                if chosen:
                    given[f"ipv{family}_address"] = chosen
            if network.driver != "none":
                given["interface_name"] = endpoint.interface_name
    return result


def manifest(document: Document) -> Manifest:
    """Return the manifest that a document is; JSON is YAML."""
    return load(["-"], {}, io.StringIO(json.dumps(document)))
