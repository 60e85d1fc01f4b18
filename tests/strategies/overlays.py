"""Networks that span hosts, in documents and in states."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from reconciler.resources import HOST, Address, FdbEntry, Link, Neighbour, Resource, Route
from reconciler.x25519 import public_key

HERE = "192.0.2.10"
"""The address that the hosts in tests have."""

Document = dict[str, Any]

SMALL = 28
"""The size of a pool's subnets that are too small to be cut for hosts."""

PRIVATE = {"/run/first.key": b"\1" * 32, "/run/second.key": b"\2" * 32}
"""The private keys that the hosts in tests have in files."""

PUBLIC = {file: b64encode(public_key(private)).decode() for file, private in PRIVATE.items()}

_others = st.sampled_from(["192.0.2.11", "192.0.2.12", "198.51.100.77"])
_ports = st.sampled_from([{}, {"wireguard_port": 51999}])


def _host(address: str, number: int, more: Document) -> Document:
    return {"address": address, "public_key": b64encode(public_key(bytes([number]) * 32)).decode(), **more}


def _here(file: str, more: Document) -> Document:
    return {"address": HERE, "private_key_file": file, "public_key": PUBLIC[file], **more}


hosts = st.builds(
    lambda here, there, more: {"here": here, "there": there, **more},
    st.builds(_here, st.sampled_from(sorted(PRIVATE)), _ports),
    st.builds(_host, _others, st.sampled_from([3, 4]), _ports),
    st.sampled_from([{}, {"far": _host("203.0.113.99", 5, {})}]),
)


def write_keys() -> None:
    """Put the private keys into the files of the host that the tests run on."""
    for name, private in PRIVATE.items():
        file = Path(name)
        file.write_bytes(b64encode(private))
        file.chmod(0o600)


@st.composite
def placed(draw: st.DrawFn, document: Document) -> None:
    """Say of containers on which host they are; who is on every one says nothing."""
    for container in document["containers"].values():
        if host := draw(st.sampled_from([None, "here", "here", *document["hosts"]])):
            container["host"] = host


def options(number: int, stock: bool = False) -> st.SearchStrategy[Document]:
    """Options of an overlay; `stock`: encrypted ones too, since WireGuard is not in every kernel."""
    modes = st.sampled_from(["nat", "routed", "isolated"])
    return st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["l2", "l3"]),
            "vni": st.sampled_from([5000 + number, 6000 + number]),
            "port": st.sampled_from([4789, 4790]),
            "flood": st.booleans(),
            "icc": st.booleans(),
            "masquerade": st.booleans(),
            "gateway_mode": modes,
            "gateway_mode_ipv6": modes,
            "name": st.sampled_from([f"shopov{number}", f"otherov{number}"]),
            "host_prefix_ipv4": st.sampled_from([27, 28]),
            "host_prefix_ipv6": st.sampled_from([80, 112]),
            "direct_routing": st.booleans(),
            **({"encrypted": st.booleans()} if stock else {}),
        },
    )


def settle(document: Document) -> None:
    """Take out what contradicts itself: overlays where there are no hosts, and what a mode has no room for."""
    known = document.get("hosts", {})
    over = [name for name, one in document["networks"].items() if one["driver"] == "overlay"]
    for container in document["containers"].values():
        if container.get("host") not in known:
            container.pop("host", None)
        if known and "host" not in container and any(name in container["networks"] for name in over):
            container["host"] = "here"
    for name in over:
        network = document["networks"][name]
        if not known:
            network |= {"driver": "bridge", "driver_opts": {}}
            continue
        if network.get("mtu", 0) > (1370 if network["driver_opts"].get("encrypted") else 1450):
            del network["mtu"]
        network.pop("allow", None)
        opts = network["driver_opts"]
        if opts.get("encrypted"):
            opts.pop("direct_routing", None)
        small = any(pool["size"] == SMALL for pool in document.get("default_address_pools", ()))
        if small and not any("." in one["subnet"] for one in network.get("ipam", {}).get("config", [])):
            opts.pop("mode", None)
        if opts.get("mode") == "l3":
            _settle_l3(document, name)
        else:
            for key in ("host_prefix_ipv4", "host_prefix_ipv6", "direct_routing"):
                opts.pop(key, None)


def _settle_l3(document: Document, name: str) -> None:
    network = document["networks"][name]
    network.pop("routes", None)
    for key in ("flood", "gateway_mode", "gateway_mode_ipv6"):
        network["driver_opts"].pop(key, None)
    for config in network.get("ipam", {}).get("config", []):
        for key in ("gateway", "ip_range", "aux_addresses"):
            config.pop(key, None)
    for container in document["containers"].values():
        members = container["networks"]
        for key in ("ipv4_address", "ipv6_address") if isinstance(members, dict) else ():
            (members.get(name) or {}).pop(key, None)


# States


@st.composite
def bridged(draw: st.DrawFn, network: str, number: int, mtu: int) -> list[Resource]:
    """A VXLAN link in a network's bridge, which must have a MAC of its own, and whom it knows."""
    path = f"{network}#vxlan"
    flags = dict.fromkeys(("flood", "mcast_flood", "bcast_flood"), draw(st.booleans()))
    port = {"learning": False, "neigh_suppress": draw(st.booleans()), **flags}
    result: list[Resource] = [_vxlan(draw, path, number, mtu, master=network, port=port)]
    for place in draw(st.lists(st.integers(1, 4), unique=True)):
        mac, via = f"02:cc:00:00:0{number}:0{place}", draw(_vias)
        result.append(FdbEntry(path, mac, via))
        known = draw(
            st.lists(st.sampled_from([f"10.2{number}.0.20{place}", f"fd00:2{number}::20{place}"]), unique=True)
        )
        result += [Neighbour(network, one, mac) for one in known]
    everybody = draw(st.lists(_vias, unique=True))
    return [*result, *(FdbEntry(path, FdbEntry.FLOOD, via, bridged=False) for via in everybody)]


@st.composite
def routed(draw: st.DrawFn, network: str, number: int, mtu: int) -> list[Resource]:
    """A VXLAN link that the host routes by."""
    path = f"{network}#vtep"
    result: list[Resource] = [_vxlan(draw, path, number, mtu)]
    result += [Address(path, one) for one in (f"10.9{number}.0.1/32", f"fd00:9{number}::1/128") if draw(st.booleans())]
    for place in draw(st.lists(st.integers(1, 3), unique=True)):
        mac, metric = f"02:cc:00:00:1{number}:0{place}", draw(st.sampled_from([0, 7]))
        result.append(FdbEntry(path, mac, draw(_vias), bridged=False))
        result.append(Neighbour(path, f"10.9{number}.{place}.1", mac))
        result.append(Route(HOST, f"10.9{number}.{place}.0/24", f"10.9{number}.{place}.1", path, metric, onlink=True))
    return result


_vias = st.sampled_from(["192.0.2.11", "192.0.2.12", "203.0.113.99"])


def _vxlan(draw: st.DrawFn, path: str, number: int, mtu: int, **more: Any) -> Link:
    return Link(
        path=path,
        kind="vxlan",
        sandbox=HOST,
        name=f"vx{number}",
        mtu=mtu,
        mac=draw(st.sampled_from([f"02:bb:00:00:01:0{number}", f"02:bb:00:00:02:0{number}"])),
        ipv6=False,
        options={
            "id": draw(st.sampled_from([5000 + number, 6000 + number])),
            "local": draw(st.sampled_from([HERE, "192.0.2.77"])),
            "port": 4789,
            "learning": False,
        },
        **more,
    )
