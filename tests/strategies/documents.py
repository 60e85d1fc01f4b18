"""Manifests as documents, and pairs of them that have parts in common."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import Topology

from . import bridges, overlays, ports, services, shaping
from . import names as naming
from .hosts import CONTAINERS, NETWORKS, PARENTS, PROCESS, VLANS

Document = dict[str, Any]

_POOLS = [
    {"base": "10.128.0.0/16", "size": 24},
    {"base": "10.129.0.0/16", "size": overlays.SMALL},
    {"base": "fd12:34::/48", "size": 64},
]


@st.composite
def documents(draw: st.DrawFn, stock: bool = False) -> Document:
    """A valid manifest of project shop as a document: networks of all drivers, containers with all they can have.

    `stock`: also what not every kernel has, but all stock ones: ipvlans, VLAN links, dummies, WireGuard.
    """
    present = [(number, name) for number, name in enumerate(NETWORKS) if draw(st.booleans())]
    networks = {name: draw(_network(number, name, stock)) for number, name in present}
    networks |= {name: {"driver": "none"} for name in ("nothing",) if draw(st.integers(0, 3)) == 0}
    containers = {}
    for place, name in enumerate(CONTAINERS):
        if draw(st.integers(0, 3)):
            containers[name] = draw(_container(networks, place))
    document: Document = {"version": 1, "project": "shop", "networks": networks, "containers": containers}
    if draw(st.integers(0, 2)) == 0:
        document["dns"] = draw(naming.everywhere)
    if draw(st.integers(0, 2)) == 0:
        document["default_address_pools"] = draw(_pools)
    if draw(st.integers(0, 2)) == 0:
        document["hosts"] = draw(overlays.hosts)
        draw(overlays.placed(document))
    if draw(st.integers(0, 1)) == 0:
        document["services"] = draw(services.services())
    if draw(st.integers(0, 3)) == 0:
        document["coexist"] = "docker"
    return _settled(document)


_pools = st.lists(st.sampled_from(_POOLS), unique_by=lambda pool: str(pool["base"]))


@st.composite
def pairs(draw: st.DrawFn, stock: bool = False) -> tuple[Document, Document]:
    """Two manifests that share parts: networks, containers, endpoints, options. `stock` is as for `documents`."""
    first, other = draw(documents(stock)), draw(documents(stock))
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
    if draw(st.integers(0, 3)) == 0:
        second["default_address_pools"] = draw(_pools)
    if draw(st.booleans()):
        second.pop("coexist", None)
        second |= {key: other[key] for key in ("coexist",) if key in other}
    if "hosts" in other:
        second["hosts"] = other["hosts"]
    if draw(st.integers(0, 3)) == 0 and "dns" in other:
        second["dns"] = other["dns"]
    services.taken_over(draw, second, other)
    return first, _settled(second)


def _take_over_one(draw: st.DrawFn, mine: Document, theirs: Document) -> None:
    """Take one key's value from another network or container; the driver comes with its options and subnets."""
    key = draw(st.sampled_from(sorted({*mine, *theirs} - {"driver", "driver_opts", "external"}) or ["labels"]))
    if mine.get("driver") == theirs.get("driver") and mine.get("external") == theirs.get("external"):
        mine.pop(key, None)
        if key in theirs:
            mine[key] = copy.deepcopy(theirs[key])


@st.composite
def _network(draw: st.DrawFn, number: int, name: str, stock: bool) -> Document:
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
    perhaps("protect", st.just(True))
    if 0 in families:
        ways: list[Document] = [
            {"destination": f"198.51.10{number}.0/24"},
            {"destination": f"198.18.{number}.0/24", "via": f"10.2{number}.0.77", "metric": 7},
            {"destination": f"192.0.2.{number}/32", "type": "blackhole"},
        ]
        perhaps("routes", st.lists(st.sampled_from(ways), unique_by=lambda way: way["destination"]))
    kinds = [
        "bridge",
        "bridge",
        "bridge",
        "external",
        "macvlan",
        "passthru",
        "overlay",
        *(["vlan", "ipvlan", "dummy"] * stock),
    ]
    match draw(st.sampled_from(kinds)):
        case "bridge":
            options = draw(_bridge_options(number)) | draw(bridges.opened(stock))
            result |= {"driver": "bridge", "driver_opts": options}
            perhaps("allow", st.lists(st.sampled_from([one for one in NETWORKS if one != name]), unique=True))
        case "overlay":
            result |= {"driver": "overlay", "driver_opts": draw(overlays.options(number, stock))}
        case "external":
            result |= {"driver": "bridge", "external": True, "driver_opts": {"name": "canary0"}}
        case "passthru" if number == 0:
            result |= {"driver": "macvlan", "driver_opts": {"parent": "eth2", "mode": "passthru"}}
        case "vlan":
            result |= {"driver": "macvlan", "driver_opts": {**draw(_macvlan_options(name)), "parent": VLANS[0]}}
        case "ipvlan":
            result |= {"driver": "ipvlan", "driver_opts": {**draw(_ipvlan_options()), "parent": VLANS[1]}}
        case "dummy":
            either = {"macvlan": _macvlan_options(name), "ipvlan": _ipvlan_options()}
            driver = draw(st.sampled_from(sorted(either)))
            result |= {"driver": driver, "driver_opts": draw(either[driver]), "internal": True}
            result["driver_opts"].pop("parent", None)
        case _:
            result |= {"driver": "macvlan", "driver_opts": draw(_macvlan_options(name))}
    if draw(st.booleans()) and result["driver"] in ("macvlan", "ipvlan"):
        result["driver_opts"]["host_access"] = draw(_host_access(number))
    return result


def _host_access(number: int) -> st.SearchStrategy[Any]:
    addresses = [f"10.2{number}.0.250", f"fd00:2{number}::fa"]
    return st.sampled_from([True, addresses[0], [addresses[1]], addresses])


def _ipvlan_options() -> st.SearchStrategy[Document]:
    modes, flags = st.sampled_from(["l2", "l3", "l3s"]), st.sampled_from(["bridge", "private", "vepa"])
    return st.fixed_dictionaries({}, optional={"mode": modes, "flag": flags})


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
            "host_binding": ports.binding,
            "inhibit_gateway": st.booleans(),
        },
    )


def _macvlan_options(name: str) -> st.SearchStrategy[Document]:
    """Options, the parent being a card, or the bridge of another network, which `_settled` gives its name."""
    bridges = [f"the bridge of {other}" for other in NETWORKS if other != name]
    return st.fixed_dictionaries(
        {"parent": st.sampled_from(["eth0", "eth1", *bridges, *bridges])},
        optional={
            "mode": st.sampled_from(["bridge", "private", "vepa"]),
            "bc_queue_len": st.sampled_from([500, 2000]),
        },
    )


@st.composite
def _container(draw: st.DrawFn, networks: Mapping[str, Document], place: int) -> Document:
    result: Document = {}
    if place == 0 and draw(st.booleans()):
        sandboxes = [
            {"netns": "theirs", "create": False},
            {"netns": "shop-web"},
            {"pid": PROCESS},
            {"machine": "theirs"},
        ]
        result["sandbox"] = dict(draw(st.sampled_from(sandboxes)))
    if draw(st.integers(0, 5)) == 0:
        result["labels"] = {"tier": "web"}
    if draw(st.integers(0, 5)) == 0:
        result["dns"] = draw(naming.container)
    if draw(st.integers(0, 2)) == 0:
        result["ports"] = draw(ports.ports(place))
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
            "driver_opts": bridges.endpoint_vlans,
            "bandwidth": shaping.bandwidth,
            "aliases": naming.aliases,
            "link_local_ips": st.sampled_from([[f"169.254.7{number}.{ours}"], [f"fe80::{number}:{ours}"]]),
            "sysctls": st.fixed_dictionaries(
                {}, optional={"net.ipv4.conf.IFNAME.rp_filter": values, "net.ipv6.conf.IFNAME.accept_ra": values}
            ),
        },
    )


def _settled(document: Document) -> Document:
    """Return the document with what contradicts itself taken out: what is valid alone is not always so together."""
    networks, containers = document["networks"], document["containers"]
    overlays.settle(document)
    filtered = {
        name
        for name, one in networks.items()
        if one["driver"] == "bridge" and not one.get("external") and not one.get("internal")
    }
    for name, network in networks.items():
        if "allow" in network:
            network["allow"] = [other for other in network["allow"] if other in filtered and name in filtered]
        if network.get("external"):
            for key in ("internal", "mtu", "protect"):
                network.pop(key, None)
        families = {6 if ":" in one["subnet"] else 4 for one in network.get("ipam", {}).get("config", [])}
        if families:
            network["enable_ipv4"] = 4 in families
        else:
            network.pop("enable_ipv4", None)
        if 4 not in families:
            network.pop("routes", None)
        for container in containers.values():
            _fit(container, name, network, families)
        _fit_host(network, families)
    bridges.settle(document)
    shaping.settle(document)
    _share_parents(networks)
    _name_parents(networks)
    for container in containers.values():
        members = container["networks"]
        for name in [name for name in members if name not in networks]:
            members.pop(name) if isinstance(members, dict) else members.remove(name)
        if len(members) > 1 and "nothing" in members:
            members.pop("nothing") if isinstance(members, dict) else members.remove("nothing")
    _leave_one(document)
    services.settle(document)
    ports.settle(document)
    return document


def _name_parents(networks: dict[str, Document]) -> None:
    """Write down the names of bridges that others stand on; what is not there any more gives way to a card.

    What stands on a bridge leaves its MTU to that one.
    """
    bridges = {
        f"the bridge of {name}": one["driver_opts"].get("name", f"shop-{name}")
        for name, one in networks.items()
        if one["driver"] == "bridge" and not one.get("external")
    }
    for network in networks.values():
        opts = network.get("driver_opts", {})
        if "parent" in opts and opts["parent"] not in (*PARENTS, *VLANS):
            parent = bridges.get(opts["parent"], opts["parent"])
            opts["parent"] = parent if parent in bridges.values() else "eth0"
            network.pop("mtu", None)


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
    if network.get("driver_opts", {}).get("mode") == "passthru" or network["driver"] == "ipvlan":
        endpoint.pop("mac_address", None)


def _fit_host(network: Document, families: set[int]) -> None:
    """Take away from the host's access what its network has no room for, or does not let through."""
    opts = network.get("driver_opts", {})
    access = opts.get("host_access")
    if access is None:
        return
    given = [access] if isinstance(access, str) else access
    if given is not True:
        given = [one for one in given if (6 if ":" in one else 4) in families]
        opts["host_access"] = given[0] if len(given) == 1 else given
    if not given or opts.get("mode") in ("private", "passthru") or opts.get("flag", "bridge") != "bridge":
        del opts["host_access"]


def _share_parents(networks: dict[str, Document]) -> None:
    """Make all ipvlans on one link agree, and leave those that name no parent internal: they have a dummy then."""
    shared: Document | None = None
    for network in networks.values():
        opts = network.get("driver_opts", {})
        if network["driver"] in ("macvlan", "ipvlan") and "parent" not in opts:
            network["internal"] = True
        elif network["driver"] == "ipvlan":
            shared = {**opts} if shared is None else shared
            for key in ("mode", "flag"):
                opts.pop(key, None)
                if key in shared:
                    opts[key] = shared[key]
            if opts.get("flag", "bridge") != "bridge":
                opts.pop("host_access", None)


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
        cut = network.node is not None and bool(network.node.subnets)  # each host has a part of what stays as it is
        if network.subnets and not network.external and not cut:
            configs = ours.setdefault("ipam", {}).setdefault(
                "config", [{"subnet": one.cidr} for one in network.subnets]
            )
            for config, subnet in zip(configs, network.subnets, strict=True):
                if subnet.gateway:
                    config["gateway"] = subnet.gateway
        if network.host_addresses:
            ours["driver_opts"]["host_access"] = [one.partition("/")[0] for one in network.host_addresses]
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
    services.pinned(result, topology)
    ports.pinned(result, topology)
    return result


def manifest(document: Document, process: int = PROCESS) -> Manifest:
    """Return the manifest that a document is; JSON is YAML. `process` is the number of the one called PROCESS."""
    text = json.dumps(document).replace(f'"pid": {PROCESS}', f'"pid": {process}')
    return load(["-"], {}, io.StringIO(text))


def unprotected(one: Manifest) -> Manifest:
    """Return the manifest with the protection of its networks lifted."""
    return replace(one, networks={name: replace(spec, protect=False) for name, spec in one.networks.items()})
