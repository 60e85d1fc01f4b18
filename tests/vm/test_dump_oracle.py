"""What the kernel says of links, VLANs and WireGuard, netapply and pyroute2 read alike; tests/kernel has the queues."""

from __future__ import annotations

import struct
from base64 import b64encode
from contextlib import closing
from typing import Any

import pytest
from pyroute2 import WireGuard  # type: ignore[import-untyped]
from pyroute2.netlink.generic.wireguard import wgmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from reconciler.host import kinds, rtnetlink, vlans, wireguard
from reconciler.host.netlink import Socket
from reconciler.resources import Option, Wireguard, WireguardPeer
from reconciler.x25519 import public_key
from tests.machine import Machine

LINKS = """
link add base type dummy
link add tagged link base type vlan id 20
link add outer link base type vlan id 4094 protocol 802.1ad
link add shared link base type ipvlan mode l3s
link add switch type bridge vlan_filtering 1 vlan_default_pvid 7
link add one master switch type veth peer name two
link set two master switch
"""
VLANS = """
vlan add dev one vid 20-40 untagged
vlan add dev one vid 41-43
vlan add dev one vid 50 pvid untagged
vlan add dev two vid 4094
vlan del dev two vid 7
vlan add dev switch vid 100-102 self
"""


def decoded(kind: Any, body: bytes) -> Any:
    message = kind(struct.pack("=IHHII", 16 + len(body), rtnetlink.NEWLINK, 0, 0, 0) + body)
    message.decode()
    return message


@pytest.mark.needs_kernel("dummy", "ipvlan", "vlan", "vlan_filtering")
def test_links_and_vlans_are_those_that_pyroute2_reads(host: Machine) -> None:
    host.run("ip -batch -", stdin=LINKS)
    host.run("bridge -batch -", stdin=VLANS)
    with Socket() as door:
        links = door.dump(rtnetlink.GETLINK, rtnetlink.all_links())
        ports = door.dump(rtnetlink.GETLINK, vlans.all_ports())
    rows = list(map(rtnetlink.link_row, links))
    for row, body in zip(rows, links, strict=True):
        message = decoded(ifinfmsg, body)
        names = ("IFLA_IFNAME", "IFLA_MTU", "IFLA_ADDRESS", "IFLA_LINK", "IFLA_MASTER")
        seen = [message["index"], *(message.get_attr(name) or 0 for name in names)]
        assert [row.ifindex, row.name, row.mtu, row.mac, row.below or 0, row.master or 0] == seen
        kind, expected = kind_and_options(message)
        found = kinds.decode(kinds.KINDS.get(kind, {}), row.data)
        assert (row.kind, {name: found[name] for name in expected}) == (kind, expected)
    read = {row.name: kinds.decode(kinds.KINDS.get(row.kind, {}), row.data) for row in rows}
    assert {name: read[name]["id"] for name in ("tagged", "outer")} == {"tagged": 20, "outer": 4094}
    assert dict(map(vlans.row, ports)) == {
        decoded(ifinfmsg, body)["index"]: spread(decoded(ifinfmsg, body)) for body in ports
    }
    assert sorted(len(found) for _, found in map(vlans.row, ports)) == [1, 4, 26]


def kind_and_options(message: Any) -> tuple[str, dict[str, Option]]:
    """Return a link's kind, and those of its options that pyroute2 knows, in netapply's words."""
    info = message.get_attr("IFLA_LINKINFO")
    if info is None:
        return "", {}
    kind, data = info.get_attr("IFLA_INFO_KIND"), info.get_attr("IFLA_INFO_DATA")
    match kind:
        case "vlan":
            protocol = {0x8100: "802.1q", 0x88A8: "802.1ad"}[data.get_attr("IFLA_VLAN_PROTOCOL")]
            return kind, {"id": data.get_attr("IFLA_VLAN_ID"), "protocol": protocol}
        case "ipvlan":
            return kind, {"mode": ("l2", "l3", "l3s")[data.get_attr("IFLA_IPVLAN_MODE")]}
        case "bridge":
            names = ("stp_state", "vlan_filtering", "vlan_default_pvid", "mcast_snooping")
            return kind, {name: data.get_attr(f"IFLA_BR_{name.upper()}") for name in names}
        case _:
            return kind, {}


def spread(message: Any) -> tuple[tuple[int, bool, bool], ...]:
    """Return the VLANs of a port one by one, by what pyroute2 has read of it."""
    found: list[tuple[int, bool, bool]] = []
    begin = 0
    for one in message.get_attr("IFLA_AF_SPEC").get_attrs("IFLA_BRIDGE_VLAN_INFO"):
        words = one.flags2names(one["flags"])
        if "BRIDGE_VLAN_INFO_RANGE_BEGIN" in words:
            begin = one["vid"]
            continue
        first = begin if "BRIDGE_VLAN_INFO_RANGE_END" in words else one["vid"]
        pvid, untagged = "BRIDGE_VLAN_INFO_PVID" in words, "BRIDGE_VLAN_INFO_UNTAGGED" in words
        found += [(vid, pvid, untagged) for vid in range(first, one["vid"] + 1)]
    return tuple(found)


PEERS: list[dict[str, Any]] = [
    {"endpoint_addr": "192.0.2.7", "endpoint_port": 51820, "allowed_ips": ["10.0.0.0/8", "fd00::7/128"]},
    {"endpoint_addr": "2001:db8::7", "endpoint_port": 9, "preshared_key": b64encode(b"\7" * 32).decode()},
    {"allowed_ips": ["0.0.0.0/0", "::/0", "10.128.0.0/9"]},
]


@pytest.mark.needs_kernel("wireguard")
def test_a_wireguard_link_is_the_one_that_pyroute2_reads(host: Machine) -> None:
    host.run("ip link add wg0 type wireguard")
    with closing(WireGuard()) as oracle:
        oracle.set("wg0", private_key=b64encode(b"\1" * 32).decode(), listen_port=51999)
        for number, peer in enumerate(PEERS, 2):
            key = b64encode(public_key(bytes([number]) * 32)).decode()
            oracle.set("wg0", peer={"public_key": key, **peer})
    door = wireguard.Door()
    try:
        bodies = door.dump(host.json("ip -j link show wg0")[0]["ifindex"])
    finally:
        door.close()
    found = list(wireguard.resources("#wg", bodies))
    messages = [decoded(wgmsg, body) for body in bodies]
    own = {(one.get("WGDEVICE_A_PUBLIC_KEY").decode(), one.get("WGDEVICE_A_LISTEN_PORT")) for one in messages}
    peers = by_key(messages)
    assert own == {(one.public_key, one.listen_port) for one in found if isinstance(one, Wireguard)}
    assert peers == {
        one.public_key: (one.endpoint, one.preshared, one.allowed_ips)
        for one in found
        if isinstance(one, WireguardPeer)
    }
    assert sorted(len(prefixes) for _, _, prefixes in peers.values()) == [0, 2, 3]
    assert sorted(endpoint for endpoint, _, _ in peers.values()) == ["", "192.0.2.7:51820", "[2001:db8::7]:9"]


def by_key(messages: list[Any]) -> dict[str, tuple[str, bool, tuple[str, ...]]]:
    """Return of each peer where it is, if it has a preshared key, and its prefixes, by what pyroute2 has read."""
    peers: dict[str, tuple[str, bool, tuple[str, ...]]] = {}
    for message in messages:
        for peer in message.get("WGDEVICE_A_PEERS") or ():
            key, where = peer.get("WGPEER_A_PUBLIC_KEY").decode(), peer.get("WGPEER_A_ENDPOINT")
            prefixes = tuple(one["addr"] for one in peer.get("WGPEER_A_ALLOWEDIPS") or ())
            address = where and (f"[{where['addr']}]" if ":" in where["addr"] else where["addr"])
            preshared = peer.get("WGPEER_A_PRESHARED_KEY") not in (None, b64encode(bytes(32)))
            first = (f"{address}:{where['port']}" if where else "", preshared, ())
            endpoint, secret, before = peers.get(key, first)
            peers[key] = (endpoint, secret, tuple(sorted({*before, *prefixes})))
    return peers
