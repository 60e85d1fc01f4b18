"""What pyroute2 encodes in the form in which the kernel answers, the decoders read to the same fields.

The other way round, what we encode and pyroute2 decodes, is in the tests of each codec.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.tcmsg import cls_u32, sched_tbf, tcmsg  # type: ignore[import-untyped]

from reconciler.host import kinds, rtnetlink, shaping, vlans, wireguard
from reconciler.host.shaping import FilterRow, QueueRow
from reconciler.resources import Option, Wireguard, WireguardPeer
from reconciler.resources.shaping import ticks
from tests.pyroute2_messages import encoded

Attributes = list[list[Any]]

INDEX = st.integers(1, 2**31 - 1)
PORT = st.integers(0, 2**16 - 1)
MAC = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))


def nest(*attrs: list[Any]) -> dict[str, Attributes]:
    return {"attrs": list(attrs)}


# WireGuard


KEY = st.binary(min_size=32, max_size=32).map(lambda octets: b64encode(octets).decode())
ADDRESS = st.ip_addresses().map(lambda one: socket.inet_ntop(_family(str(one)), one.packed))
PREFIX = st.ip_addresses().flatmap(
    lambda one: st.integers(0, one.max_prefixlen).map(lambda length: ip_network((one, length), strict=False))
)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _text(prefix: Any) -> str:
    """Return a prefix as inet_ntop(3) has it, which writes an IPv4 address within an IPv6 one as such."""
    return f"{socket.inet_ntop(_family(str(prefix)), prefix.network_address.packed)}/{prefix.prefixlen}"


class Peer(NamedTuple):
    key: str
    preshared: str
    endpoint: tuple[str, int] | None
    prefixes: list[str]
    keepalive: int
    counted: int


PEERS = st.lists(
    st.builds(
        Peer,
        KEY,
        st.just(b64encode(bytes(32)).decode()) | KEY,
        st.none() | st.tuples(ADDRESS, PORT),
        st.lists(PREFIX.map(_text), unique=True, max_size=4),
        PORT,
        st.integers(0, 2**63),
    ),
    unique_by=lambda peer: peer.key,
    max_size=4,
)


def told(peer: Peer, prefixes: list[str], first: bool = True) -> dict[str, Attributes]:
    """Return a peer as the kernel tells it: the rest of one that did not fit has its key and its prefixes alone."""
    attrs: Attributes = [["WGPEER_A_PUBLIC_KEY", peer.key]]
    if first:
        attrs += [
            ["WGPEER_A_PRESHARED_KEY", peer.preshared],
            ["WGPEER_A_LAST_HANDSHAKE_TIME", {"tv_sec": peer.counted, "tv_nsec": 5}],
            ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.keepalive],
            ["WGPEER_A_TX_BYTES", peer.counted],
            ["WGPEER_A_RX_BYTES", peer.counted],
            ["WGPEER_A_PROTOCOL_VERSION", 1],
        ]
        if peer.endpoint:
            attrs.append(["WGPEER_A_ENDPOINT", {"addr": peer.endpoint[0], "port": peer.endpoint[1]}])
    if prefixes:
        attrs.append(["WGPEER_A_ALLOWEDIPS", [nest(*_allowed(one)) for one in prefixes]])
    return nest(*attrs)


def _allowed(prefix: str) -> Iterator[list[Any]]:
    address, _, length = prefix.partition("/")
    yield ["WGALLOWEDIP_A_CIDR_MASK", int(length)]
    yield ["WGALLOWEDIP_A_FAMILY", _family(address)]
    yield ["WGALLOWEDIP_A_IPADDR", socket.inet_pton(_family(address), address)]


def device(index: int, private: str, public: str, port: int, peers: list[dict[str, Attributes]]) -> bytes:
    attrs: Attributes = [
        ["WGDEVICE_A_LISTEN_PORT", port],
        ["WGDEVICE_A_FWMARK", 0],
        ["WGDEVICE_A_IFINDEX", index],
        ["WGDEVICE_A_IFNAME", "wg0"],
        ["WGDEVICE_A_PRIVATE_KEY", private],
        ["WGDEVICE_A_PUBLIC_KEY", public],
    ]
    attrs += [["WGDEVICE_A_PEERS", peers]] if peers else []
    return encoded(wgmsg, {"cmd": 0, "version": 1}, attrs)


@given(index=INDEX, private=KEY, public=KEY, port=PORT, peers=PEERS, cut=st.integers(0, 4))
def test_a_wireguard_link_and_its_peers_are_read(
    index: int, private: str, public: str, port: int, peers: list[Peer], cut: int
) -> None:
    """In one message, and in two, where the prefixes of the last peer of the first one go on in the second."""
    expected: list[Wireguard | WireguardPeer] = [Wireguard("#wireguard", public, port), *map(_expected, peers)]
    whole = device(index, private, public, port, [told(peer, peer.prefixes) for peer in peers])
    found = list(wireguard.resources("#wireguard", [whole]))
    assert found == expected
    assert endpoints(found) == endpoints(expected), "which are not compared"
    if not peers:
        return
    *others, last = peers
    begun = [*(told(peer, peer.prefixes) for peer in others), told(last, last.prefixes[:cut])]
    rest = [told(last, last.prefixes[cut:], first=False)]
    parts = [device(index, private, public, port, some) for some in (begun, rest)]
    again = list(wireguard.resources("#wireguard", parts))
    assert (again, endpoints(again)) == (found, endpoints(found))


def endpoints(found: Iterable[Wireguard | WireguardPeer]) -> list[str]:
    return [one.endpoint for one in found if isinstance(one, WireguardPeer)]


def _expected(peer: Peer) -> WireguardPeer:
    address, port = peer.endpoint or ("", 0)
    endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}" if address else ""
    preshared = peer.preshared != b64encode(bytes(32)).decode()
    return WireguardPeer("#wireguard", peer.key, endpoint, tuple(sorted(peer.prefixes)), preshared)


# links


VLAN_PROTOCOLS = {0x8100: "802.1q", 0x88A8: "802.1ad", 0x9100: 0x9100}
"""What the kernel says, and how it is read: a number where there is no word for it."""


def link(index: int, below: int, mac: str, kind: str, *options: list[Any], **more: Any) -> rtnetlink.LinkRow:
    """Return what is read of a link as the kernel tells it."""
    attrs: Attributes = [
        ["IFLA_IFNAME", "x0"],
        ["IFLA_TXQLEN", 1000],
        ["IFLA_MTU", 1400],
        ["IFLA_GROUP", 0x6E6170],
        ["IFLA_LINK", below],
        ["IFLA_ADDRESS", mac],
        *([f"IFLA_{name}", value] for name, value in more.items()),
        ["IFLA_LINKINFO", nest(["IFLA_INFO_KIND", kind], *([["IFLA_INFO_DATA", nest(*options)]] if options else []))],
    ]
    return rtnetlink.link_row(encoded(ifinfmsg, {"index": index, "flags": 0x1043, "change": 0xFFFFFFFF}, attrs))


@given(index=INDEX, below=INDEX, mac=MAC, vid=st.integers(1, 4094), protocol=st.sampled_from(sorted(VLAN_PROTOCOLS)))
def test_a_vlan_link_is_read(index: int, below: int, mac: str, vid: int, protocol: int) -> None:
    options: Attributes = [["IFLA_VLAN_PROTOCOL", protocol], ["IFLA_VLAN_ID", vid]]
    options.append(["IFLA_VLAN_FLAGS", {"flags": 1, "mask": 0xFFFFFFFF}])
    row = link(index, below, mac, "vlan", *options, IFALIAS="netapply:shop#eth0.20")
    assert (row.ifindex, row.below, row.mac, row.kind, row.mtu, row.up) == (index, below, mac, "vlan", 1400, True)
    assert (row.name, row.group, row.alias) == ("x0", 0x6E6170, "netapply:shop#eth0.20")
    assert kinds.decode(kinds.KINDS["vlan"], row.data) == {"id": vid, "protocol": VLAN_PROTOCOLS[protocol]}


@pytest.mark.parametrize(("number", "word"), [(0, "l2"), (1, "l3"), (2, "l3s")])
def test_the_mode_of_an_ipvlan_is_read(number: int, word: str) -> None:
    row = link(5, 2, "02:00:00:00:00:01", "ipvlan", ["IFLA_IPVLAN_MODE", number])
    assert kinds.decode(kinds.KINDS["ipvlan"], row.data) == {"mode": word}


@given(
    vni=st.integers(1, 2**24 - 1),
    local=ADDRESS,
    port=PORT,
    learning=st.booleans(),
)
def test_a_vxlan_link_is_read(vni: int, local: str, port: int, learning: bool) -> None:
    family = "local6" if ":" in local else "local"
    options: Attributes = [["IFLA_VXLAN_ID", vni], [f"IFLA_VXLAN_{family.upper()}", local]]
    options += [["IFLA_VXLAN_LEARNING", int(learning)], ["IFLA_VXLAN_PORT", port], ["IFLA_VXLAN_AGEING", 300]]
    found = kinds.decode(kinds.KINDS["vxlan"], link(5, 0, "02:00:00:00:00:01", "vxlan", *options).data)
    assert found.pop(family) == socket.inet_ntop(_family(local), ip_address(local).packed)
    assert found == {"id": vni, "learning": learning, "port": port}


@given(filtering=st.booleans(), pvid=st.integers(0, 4094), delay=st.integers(2, 30), stp=st.booleans())
def test_a_bridge_that_filters_vlans_is_read(filtering: bool, pvid: int, delay: int, stp: bool) -> None:
    options: Attributes = [
        ["IFLA_BR_FORWARD_DELAY", delay * 100],
        ["IFLA_BR_HELLO_TIME", 200],
        ["IFLA_BR_STP_STATE", int(stp)],
        ["IFLA_BR_VLAN_FILTERING", int(filtering)],
        ["IFLA_BR_VLAN_PROTOCOL", 0x8100],
        ["IFLA_BR_VLAN_DEFAULT_PVID", pvid],
    ]
    expected: dict[str, Option] = {"forward_delay": delay, "stp_state": stp}
    expected |= {"vlan_filtering": filtering, "vlan_default_pvid": pvid}
    assert kinds.decode(kinds.KINDS["bridge"], link(5, 0, "02:00:00:00:00:01", "bridge", *options).data) == expected


@pytest.mark.parametrize("kind", ["ifb", "dummy", "wireguard"])
def test_a_link_of_a_kind_without_options_is_read(kind: str) -> None:
    row = link(5, 0, "02:00:00:00:00:01", kind)
    assert (row.kind, kinds.decode(kinds.KINDS[kind], row.data)) == (kind, {})


# VLANs of bridges and ports


@given(
    index=INDEX,
    untagged=st.dictionaries(st.integers(1, 40) | st.integers(1, 4094), st.booleans(), max_size=30),
    pvid=st.integers(0, 40),
    compressed=st.booleans(),
)
def test_the_vlans_of_a_port_are_read(index: int, untagged: dict[int, bool], pvid: int, compressed: bool) -> None:
    """Alone and in runs, which end where the flags differ: br_fill_ifvlaninfo_compressed in net/bridge/br_netlink.c."""
    flags = {vid: 4 * without | 2 * (vid == pvid) for vid, without in sorted(untagged.items())}
    spec = [["IFLA_BRIDGE_VLAN_INFO", {"flags": how, "vid": vid}] for vid, how in _rows(flags, compressed)]
    attrs: Attributes = [
        ["IFLA_IFNAME", "ve0"],
        ["IFLA_MASTER", 3],
        ["IFLA_MTU", 1500],
        ["IFLA_OPERSTATE", "UP"],
        ["IFLA_ADDRESS", "02:00:00:00:00:01"],
        ["IFLA_AF_SPEC", nest(*spec)],
    ]
    body = encoded(ifinfmsg, {"family": socket.AF_BRIDGE, "index": index, "flags": 0x1043}, attrs)
    expected = tuple((vid, bool(how & 2), bool(how & 4)) for vid, how in flags.items())
    assert vlans.row(body) == (index, expected)


def _rows(flags: Mapping[int, int], compressed: bool) -> Iterator[tuple[int, int]]:
    left = list(flags.items())
    while left:
        vid, how = left.pop(0)
        last = vid
        while compressed and left and left[0] == (last + 1, how):
            last = left.pop(0)[0]
        if last == vid:
            yield vid, how
        else:
            yield vid, how | 8
            yield last, how | 16


# queues and filters


def queue(index: int, kind: str, handle: int, parent: int, *more: list[Any]) -> QueueRow:
    attrs: Attributes = [["TCA_KIND", kind], *more]
    fields = {"index": index, "handle": handle, "parent": parent, "info": 2}
    return shaping.queue_row(encoded(tcmsg, fields, attrs))


@given(index=INDEX, rate=st.integers(1_000, 2**32 - 2), burst=st.integers(2_000, 200_000), limit=st.integers(1, 2**31))
def test_a_queue_of_ours_is_read(index: int, rate: int, burst: int, limit: int) -> None:
    """`rate` is in bytes here. The kernel keeps the time that a burst takes, in ticks: as many bytes as these are."""
    taken = ticks(rate * 8, burst)
    parts = {name: 0 for name, _ in sched_tbf.options.tbf_parms.fields}
    parts |= {"rate": rate, "limit": limit, "buffer": taken, "rate_cell_log": 3, "rate___reserved": 1}
    row = queue(index, "tbf", shaping.HANDLE, 0xFFFFFFFF, ["TCA_OPTIONS", nest(["TCA_TBF_PARMS", parts])])
    assert row._replace(burst=0) == QueueRow(index, "tbf", True, True, rate * 8, 0, limit)
    assert ticks(rate * 8, row.burst) == taken
    parts |= {"rate_overhead": 4}
    row = queue(index, "tbf", shaping.HANDLE, 0xFFFFFFFF, ["TCA_OPTIONS", nest(["TCA_TBF_PARMS", parts])])
    assert row == QueueRow(index, "tbf", True, True), "ours have no overhead: somebody has changed it"


@pytest.mark.parametrize("rate", ["8mbit", "10mbit", "1gbit"])
def test_what_pyroute2_has_computed_for_a_queue_is_read(rate: str) -> None:
    parts = sched_tbf.get_parameters({"rate": rate, "burst": 20_000, "limit": 150_000})
    row = queue(7, "tbf", shaping.HANDLE, 0xFFFFFFFF, ["TCA_OPTIONS", parts])
    assert row == QueueRow(7, "tbf", True, True, row.rate, row.burst, 150_000)
    number = int(rate.rstrip("mgbit")) * (10**9 if "g" in rate else 10**6)
    assert row.rate == number
    assert ticks(number, row.burst) == ticks(number, 20_000)


@pytest.mark.parametrize(
    ("kind", "handle", "parent", "expected"),
    [
        ("ingress", 0xFFFF0000, 0xFFFFFFF1, QueueRow(7, "ingress", False, False)),
        ("clsact", 0xFFFF0000, 0xFFFFFFF1, QueueRow(7, "clsact", False, False)),
        ("fq_codel", 0x80010000, 0xFFFFFFFF, QueueRow(7, "fq_codel", True, False)),
        ("noqueue", 0, 0xFFFFFFFF, QueueRow(7, "noqueue", False, False)),
        ("tbf", 0x80010000, 0xFFFFFFFF, QueueRow(7, "tbf", True, False)),
        ("tbf", shaping.HANDLE, 0x10001, QueueRow(7, "tbf", False, False)),
    ],
)
def test_queues_of_others_and_what_filters_are_on_are_read(
    kind: str, handle: int, parent: int, expected: QueueRow
) -> None:
    assert queue(7, kind, handle, parent) == expected


def test_an_htb_of_somebody_else_is_read() -> None:
    options = nest(["TCA_HTB_INIT", {"version": 3, "rate2quantum": 10, "defcls": 1, "debug": 0, "direct_pkts": 0}])
    assert queue(7, "htb", 0x10000, 0xFFFFFFFF, ["TCA_OPTIONS", options]) == QueueRow(7, "htb", True, False)


def filtered(priority: int, action: Mapping[str, Any] | str) -> FilterRow:
    """Return what is read of a filter for everything, with an action."""
    request = {"prio": priority, "protocol": 3, "target": 0x10001, "keys": ["0x0/0x0+0"], "action": action}
    options = cls_u32.get_parameters(request)
    cls_u32.fix_request(request)
    fields = {"index": 7, "handle": 0x80000800, "parent": 0xFFFFFFF2, "info": request["info"]}
    return shaping.filter_row(encoded(tcmsg, fields, [["TCA_KIND", "u32"], ["TCA_OPTIONS", options]]))


@given(to=INDEX)
def test_a_redirection_is_read(to: int) -> None:
    mirred = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": to}
    assert filtered(shaping.PRIORITY, mirred) == FilterRow(True, to)
    assert filtered(1, mirred) == FilterRow(False)
    assert filtered(shaping.PRIORITY, "drop") == FilterRow(True, 0), "ours, but what it did somebody has changed"
