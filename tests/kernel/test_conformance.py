"""The host in memory behaves as the kernel does: the same lists of changes through both, compared change by change.

Where they differ the kernel is right, and `reconciler.host.fake` is to be mended.
"""

from __future__ import annotations

import errno
import re
import subprocess
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from hypothesis import given, settings

from reconciler.errors import HostLacks
from reconciler.host import Host, Scope
from reconciler.host.fake import FakeHost
from reconciler.host.linux import LinuxHost
from reconciler.networks import SandboxRef
from reconciler.plan import Change, Create, Delete, Update, diff
from reconciler.resources import (
    HOST,
    NFT,
    VLANS,
    Address,
    BridgeVlan,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    Option,
    Peer,
    Port,
    ResolvConf,
    Resource,
    Route,
    State,
    Sysctl,
)
from tests import canaries, samples, strategies
from tests.samples import ADDRESS, ADDRESS6, DEFAULT, DEFAULT6, GATEWAY, NOWHERE, WEB
from tests.strategies import CONTAINERS, PARENTS, Foreign, nft_table, state_pairs
from tests.strategies.hosts import CARD

from ..machine import Machine

SCOPE = Scope("shop", {name: SandboxRef("netns", name, create=True) for name in CONTAINERS})
FOREIGN = Foreign(ports=1)

DB = Netns("db", "netns:db")
FRONT = replace(samples.FRONT, ipv6=False)
INNER = Peer("web", "eth0", mtu=1500, mac="02:00:00:00:00:01", ipv6=False)
WEB_FRONT = replace(samples.WEB_FRONT, peer=INNER, ipv6=False)
WEB_LAN = replace(samples.WEB_LAN, mtu=1400, mac="02:00:00:00:00:02", ipv6=False)
ON_FRONT = replace(WEB_LAN, parent="front")
DB_LAN = replace(WEB_LAN, path="db/lan", sandbox="db", mac="02:00:00:00:00:03")
SECOND = Address("web/front", "10.20.0.11/24")
THIRD = Address("web/front", "10.20.9.11/24")
ON_LINK = Route("web", "198.51.100.0/24", link="web/front")
NOWHERE6 = Route("web", "2001:db8:ff::/48", metric=1024, type="prohibit")
SHOP: list[Resource] = [WEB, FRONT, WEB_FRONT, GATEWAY, ADDRESS, ADDRESS6, DEFAULT, DEFAULT6, ON_LINK]


def made(*resources: Resource) -> list[Change]:
    return [Create(one) for one in resources]


def gone(*resources: Resource) -> list[Change]:
    return [Delete(one) for one in resources]


def change(before: Resource, after: Resource, *fields: str) -> list[Change]:
    return [Update(before, after, fields)]


WEB_DOWN = replace(WEB_FRONT, peer=replace(WEB_FRONT.peer, up=False))  # type: ignore[type-var]
TABLE = nft_table("drop")
TAGGED = replace(FRONT, tags=(f"uplink-down={CARD}",))
PORT = Port("front#uplink", CARD, "front", found_up=False)
FILTERING = replace(TAGGED, options={"vlan_filtering": True, "vlan_default_pvid": 0}, tags=(VLANS, *TAGGED.tags))
STP = replace(FRONT, options={"stp_state": True, "forward_delay": 4, "mcast_snooping": False})
WEB_VLANS = replace(WEB_FRONT, tags=(VLANS,))
NATIVE = BridgeVlan("web/front", 10, pvid=True, untagged=True)
TRUNK = [BridgeVlan("web/front", number) for number in range(20, 25)]

SEGMENT = replace(FRONT, mtu=1450, mac="02:00:00:00:00:0c")
VXLAN = Link(
    "front#vxlan",
    "vxlan",
    HOST,
    "vx0",
    1450,
    "02:00:00:00:00:0a",
    master="front",
    options={"id": 5000, "local": "192.0.2.10", "port": 4789, "learning": False},
    port={"learning": False, "neigh_suppress": True},
    ipv6=False,
)
VXLAN_ALONE = replace(VXLAN, path="front#vtep", master=None, port={})
OVER_IPV6: dict[str, Option] = {"id": 5000, "local6": "2001:db8::10", "port": 4789, "learning": False}
ENTRY = FdbEntry("front#vxlan", "02:00:00:00:00:0b", "192.0.2.11")
TO_ALL = FdbEntry("front#vxlan", FdbEntry.FLOOD, "192.0.2.11", bridged=False)
NEAR = Neighbour("front", "10.20.0.99", "02:00:00:00:00:0b")
NEAR6 = Neighbour("front", "fd00:20::99", "02:00:00:00:00:0b")

NAMES = DnsHosts("front", ("10.20.0.10 web web.front",))
MORE_NAMES = replace(NAMES, records=(*NAMES.records, "10.20.0.11 db db.front"))
RESOLVER = DnsServer("front", ("front",), ("10.20.0.1",), 24000, ("front",), ("10.20.0.0/24",))
OTHER_PORT = replace(RESOLVER, port=24001)
IN_WEB = DnsServer("in web", ("front",), (DnsServer.OWN,), DnsServer.OWN_PORT, ("front",), upstream=(), sandbox="web")
RESOLV_CONF = ResolvConf("web", "netns:web", ("nameserver 10.20.0.1",))
OTHER_CONF = replace(RESOLV_CONF, lines=("nameserver 10.20.0.2", "options ndots:2"))

WEB_MARKED = replace(WEB_FRONT, tags=(NFT,))
INSIDE = replace(TABLE, sandbox="web")
EDITED = replace(nft_table("accept"), sandbox="web")

LISTS: dict[str, list[list[Change]]] = {
    "a table in a sandbox is made, changed and removed": [
        made(WEB, FRONT, WEB_MARKED, INSIDE),
        change(INSIDE, EDITED, "text"),
        gone(EDITED),
        gone(EDITED),
        change(EDITED, INSIDE, "text"),
    ],
    "a table is seen in a sandbox where a mark says so": [
        made(WEB, DB, FRONT, WEB_FRONT, INSIDE),
        change(WEB_FRONT, WEB_MARKED, "tags"),
        change(WEB_MARKED, WEB_FRONT, "tags"),
    ],
    "a table goes with its sandbox and comes back with it": [
        made(WEB, FRONT, WEB_MARKED, INSIDE),
        gone(WEB),
        made(WEB),
    ],
    "there is no table where there is no sandbox": [made(INSIDE), gone(INSIDE)],
    "names are written, changed and removed": [
        change(NAMES, MORE_NAMES, "records"),
        made(NAMES),
        made(NAMES),
        change(NAMES, MORE_NAMES, "records"),
        gone(MORE_NAMES),
        gone(NAMES),
    ],
    "a resolver listens where the host has an address, and nobody else listens": [
        made(RESOLVER),
        made(FRONT, GATEWAY, NAMES, RESOLVER),
        made(RESOLVER),
        made(replace(RESOLVER, name="back")),
        made(replace(OTHER_PORT, name="back")),
        change(RESOLVER, OTHER_PORT, "port"),
        gone(replace(OTHER_PORT, name="back")),
        change(RESOLVER, OTHER_PORT, "port"),
        gone(OTHER_PORT),
        change(OTHER_PORT, RESOLVER, "port"),
    ],
    "a resolver outlives its address, and answers when that is back": [
        made(FRONT, GATEWAY, NAMES, RESOLVER),
        gone(FRONT),
        made(FRONT, GATEWAY),
        gone(RESOLVER, NAMES),
    ],
    "a resolver reads new names, and need not have any": [
        made(FRONT, GATEWAY, RESOLVER),
        made(NAMES),
        change(NAMES, MORE_NAMES, "records"),
    ],
    "a resolver in a sandbox is there once, and keeps the namespace": [
        made(IN_WEB),
        made(WEB, DB, NAMES, IN_WEB),
        made(IN_WEB),
        made(replace(IN_WEB, name="in db", sandbox="db")),
        gone(WEB),
        change(IN_WEB, replace(IN_WEB, upstream=("192.0.2.53",)), "upstream"),
        gone(IN_WEB),
        change(IN_WEB, replace(IN_WEB, upstream=("192.0.2.53",)), "upstream"),
        gone(WEB),
        made(WEB, IN_WEB),
    ],
    "a resolver in a sandbox needs its lo, once there is any address": [
        made(replace(WEB, loopback_up=False), FRONT, WEB_FRONT, ADDRESS, IN_WEB)
    ],
    "a container's resolv.conf is made once, changed and removed": [
        made(WEB, RESOLV_CONF),
        made(RESOLV_CONF),
        change(RESOLV_CONF, OTHER_CONF, "lines"),
        gone(OTHER_CONF),
        gone(OTHER_CONF),
        change(OTHER_CONF, RESOLV_CONF, "lines"),
    ],
    "everything is made once": [made(*SHOP, NOWHERE, NOWHERE6, TABLE)],
    "nothing can be made twice": [made(*SHOP, NOWHERE), made(*SHOP, NOWHERE)],
    "nothing can be deleted that is not there": [
        made(WEB, FRONT, WEB_FRONT),
        gone(ADDRESS, ADDRESS6, NOWHERE, DB_LAN, DB, TABLE),
    ],
    "a link takes its addresses and routes along": [made(*SHOP), gone(WEB_FRONT)],
    "a bridge lets go of its ports": [made(*SHOP), gone(FRONT)],
    "a namespace without a place is not there": [made(WEB_FRONT, WEB_LAN, NOWHERE)],
    "a master and a parent must be there": [made(WEB, WEB_FRONT, replace(WEB_LAN, parent="/eth9"))],
    "a next hop must be reached over the link": [made(WEB, FRONT, WEB_FRONT, DEFAULT, DEFAULT6, ADDRESS, ADDRESS6)],
    "a next hop is not a host itself": [
        made(WEB, FRONT, WEB_FRONT, ADDRESS, ADDRESS6),
        made(replace(DEFAULT, via="10.20.0.10"), replace(DEFAULT6, via="fd00:20::10")),
    ],
    "a next hop behind a route on the link is reached": [
        made(WEB, FRONT, WEB_FRONT, ADDRESS, ON_LINK, replace(DEFAULT, via="198.51.100.7")),
    ],
    "a link-local next hop needs no address": [made(WEB, FRONT, WEB_FRONT, replace(DEFAULT6, via="fe80::1"))],
    "there are no routes over a link that is down": [
        made(WEB, FRONT, WEB_DOWN, ADDRESS, ADDRESS6, DEFAULT, DEFAULT6, ON_LINK),
        made(replace(ON_LINK, destination="2001:db8:1::/64", metric=1024)),
    ],
    "a link that goes down loses its routes and IPv6 addresses": [
        made(*SHOP),
        change(WEB_FRONT, WEB_DOWN, "peer.up"),
        change(WEB_DOWN, WEB_FRONT, "peer.up"),
    ],
    "the last IPv4 address takes the IPv4 routes along": [made(*SHOP, SECOND), gone(ADDRESS), gone(SECOND)],
    "an IPv6 address leaves the routes where they are": [made(*SHOP), gone(ADDRESS6)],
    "the first of three addresses goes and the others stay": [made(*SHOP, SECOND, THIRD), gone(ADDRESS), gone(SECOND)],
    "an address can be there with another prefix length too": [
        made(*SHOP, Address("web/front", "10.20.0.10/16"), Address("web/front", "fd00:20::10/48"))
    ],
    "a route is replaced in place": [
        made(*SHOP, NOWHERE),
        change(DEFAULT, replace(DEFAULT, via="10.20.0.254"), "via"),
        change(DEFAULT6, replace(DEFAULT6, via="fd00:20::fe"), "via"),
        change(DEFAULT, replace(DEFAULT, via="10.99.0.1"), "via"),
        change(NOWHERE, replace(NOWHERE, type="unreachable"), "type"),
    ],
    "routes of different metrics live side by side": [
        made(*SHOP, replace(DEFAULT, metric=7), replace(DEFAULT6, metric=7)),
        gone(DEFAULT, DEFAULT6),
    ],
    "a link is changed in place": [
        made(*SHOP),
        change(FRONT, replace(FRONT, mtu=1400, mac="02:00:00:00:00:77"), "mtu", "mac"),
        change(WEB_FRONT, replace(WEB_FRONT, mtu=1300), "mtu"),
        change(
            WEB_FRONT, replace(WEB_FRONT, peer=replace(WEB_FRONT.peer, mtu=1300)), "peer.mtu"  # type: ignore[type-var]
        ),
        change(WEB_FRONT, replace(WEB_FRONT, port={"hairpin": True}), "port.hairpin"),
        change(WEB_FRONT, replace(WEB_FRONT, tags=("protect",)), "tags"),
    ],
    "how a bridge works changes in place": [
        made(FRONT),
        change(FRONT, STP, "options.stp_state", "options.forward_delay", "options.mcast_snooping"),
        change(STP, replace(STP, options={"stp_state": False}), "options.stp_state"),
        [*gone(FRONT), *made(STP)],
    ],
    "IPv6 leaves a link below its least MTU": [
        made(*SHOP),
        change(WEB_FRONT, replace(WEB_FRONT, peer=replace(WEB_FRONT.peer, mtu=1200)), "peer.mtu"),  # type: ignore[type-var]
        made(ADDRESS6),
    ],
    "links get another name": [
        made(*SHOP, WEB_LAN),
        change(FRONT, replace(FRONT, name="front0"), "name"),
        change(WEB_FRONT, replace(WEB_FRONT, name="ve-new"), "name"),
        change(WEB_LAN, replace(WEB_LAN, name="lan0"), "name"),
        change(WEB_LAN, replace(WEB_LAN, name="eth0"), "name"),
    ],
    "a port moves to another bridge and is made anew there": [
        made(*SHOP),
        change(WEB_FRONT, replace(WEB_FRONT, master="/canary0"), "master"),
        change(WEB_FRONT, replace(WEB_FRONT, master=None), "master"),
        change(WEB_FRONT, WEB_FRONT, "master", "port.isolated", "port.hairpin"),
    ],
    "a link that is no port has no settings of one": [
        made(*SHOP),
        change(WEB_FRONT, replace(WEB_FRONT, master=None), "master"),
        change(WEB_FRONT, WEB_FRONT, "port.isolated"),
    ],
    "a bridge is nobody's port, and a port nobody's parent": [
        made(FRONT, replace(FRONT, path="back", name="shop-back", master="front")),
        made(WEB, replace(WEB_LAN, parent="/canary-port0")),
    ],
    "macvlans on one parent have MACs of their own": [
        made(WEB, DB, WEB_LAN, DB_LAN),
        change(DB_LAN, replace(DB_LAN, mac=WEB_LAN.mac), "mac"),
        gone(DB_LAN),
        made(replace(DB_LAN, mac=WEB_LAN.mac)),
    ],
    "a macvlan's mode changes in place, but not to passthru": [
        made(WEB, WEB_LAN),
        change(WEB_LAN, replace(WEB_LAN, options={"mode": "private"}), "options.mode"),
        change(WEB_LAN, replace(WEB_LAN, options={"mode": "vepa", "bc_queue_len": 500}), "options.mode"),
        change(WEB_LAN, replace(WEB_LAN, options={"bc_queue_len": 500}), "options.bc_queue_len"),
        change(WEB_LAN, replace(WEB_LAN, options={"mode": "passthru"}), "options.mode"),
    ],
    "a passthru macvlan is alone on its parent and has its MAC": [
        made(WEB, DB, replace(WEB_LAN, parent="/eth2", options={"mode": "passthru"}, mac=None)),
        made(replace(DB_LAN, parent="/eth2")),
        made(DB_LAN),
        made(replace(DB_LAN, path="db/dmz", name="eth5", options={"mode": "passthru"}, mac=None)),
    ],
    "a macvlan is not larger than its parent": [
        made(WEB, replace(WEB_LAN, mtu=1501)),
        made(WEB_LAN),
        change(WEB_LAN, replace(WEB_LAN, mtu=1501), "mtu"),
        change(WEB_LAN, replace(WEB_LAN, mtu=1500), "mtu"),
    ],
    "a macvlan stands on a bridge of ours, and goes with it": [
        made(WEB, FRONT, ON_FRONT),
        change(FRONT, replace(FRONT, mtu=1300), "mtu"),
        change(ON_FRONT, replace(ON_FRONT, mtu=1400), "mtu"),
        gone(FRONT),
        gone(ON_FRONT),
    ],
    "names, MTUs and MACs have limits": [
        made(WEB, FRONT, replace(FRONT, path="one", name="sixteen-letters0"), replace(FRONT, path="two", name="a/b")),
        made(replace(FRONT, path="three", name="three", mac="01:00:00:00:00:01")),
        made(replace(WEB_FRONT, mtu=60)),
        made(replace(WEB_FRONT, peer=Peer("web", "lo"))),
        change(FRONT, replace(FRONT, mtu=70000), "mtu"),
        change(FRONT, replace(FRONT, mac="01:00:00:00:00:01"), "mac"),
        change(FRONT, replace(FRONT, name="canary0"), "name"),
    ],
    "settings of a link are made, changed and taken back": [
        made(WEB, FRONT, replace(WEB_FRONT, sysctls={"ipv4.conf.rp_filter": "2"})),
        change(WEB_FRONT, replace(WEB_FRONT, sysctls={"ipv4.conf.rp_filter": "1"}), "sysctls.ipv4.conf.rp_filter"),
        change(WEB_FRONT, replace(WEB_FRONT, sysctls={"ipv4.conf.log_martians": "1"}),
               "sysctls.ipv4.conf.rp_filter", "sysctls.ipv4.conf.log_martians"),
    ],
    "settings that do not exist are refused": [
        made(WEB, FRONT, WEB_FRONT),
        [Update(WEB_FRONT, replace(WEB_FRONT, sysctls={"ipv4.conf.nonsense": "1"}), ("sysctls.ipv4.conf.nonsense",))],
        made(Sysctl("net.ipv4.nonsense", "1")),
        made(Sysctl("net.ipv4.ip_forward", "1"), Sysctl("net.ipv6.conf.all.forwarding", "1")),
    ],
    "a namespace that was deleted comes back as it was": [
        made(*SHOP, NOWHERE),
        gone(WEB),
        made(WEB),
    ],
    "a route to nowhere is there in a namespace that has lo alone": [made(WEB), made(NOWHERE, NOWHERE6), gone(NOWHERE)],
    "a namespace is made once": [made(WEB), made(WEB), gone(WEB), gone(WEB)],
    "lo goes down and up": [
        made(WEB),
        change(WEB, replace(WEB, loopback_up=False), "loopback_up"),
        change(WEB, WEB, "loopback_up"),
    ],
    "a link of somebody else's is put into a bridge and taken out": [
        made(TAGGED, PORT),
        made(PORT),
        change(PORT, replace(PORT, up=False), "up"),
        change(replace(PORT, up=False), PORT, "up"),
        gone(PORT),
        made(replace(PORT, name="canary-port0"), replace(PORT, name="eth9"), replace(PORT, master="back")),
        made(PORT),
        gone(TAGGED),
    ],
    "a bridge lets go of a link of somebody else's": [made(TAGGED, PORT), gone(TAGGED), made(TAGGED), made(PORT)],
    "a link with a macvlan on it is no port": [made(WEB, FRONT, WEB_LAN, replace(PORT, name="eth0"))],
    "a forwarding entry is made once, and replaced in place": [
        made(SEGMENT, VXLAN, ENTRY),
        made(ENTRY),
        change(ENTRY, replace(ENTRY, via="192.0.2.12"), "via"),
        gone(replace(ENTRY, via="192.0.2.12")),
        gone(ENTRY),
        made(replace(ENTRY, via="2001:db8::1"), replace(ENTRY, link="back")),
    ],
    "what is for everybody goes to several hosts": [
        made(SEGMENT, VXLAN, TO_ALL, replace(TO_ALL, via="192.0.2.12")),
        made(TO_ALL),
        gone(TO_ALL),
        gone(TO_ALL),
    ],
    "a bridge that a VXLAN link leaves forgets who was behind it, and the link does not": [
        made(SEGMENT, VXLAN, ENTRY),
        change(VXLAN, replace(VXLAN, master=None), "master"),
        change(VXLAN, VXLAN, "master", "port.learning"),
        change(replace(ENTRY, bridged=False), ENTRY, "bridged"),
    ],
    "a bridge forgets its neighbours when it goes down, and with its MAC": [
        made(SEGMENT, VXLAN, NEAR, NEAR6),
        change(SEGMENT, replace(SEGMENT, mac="02:00:00:00:00:78"), "mac"),
        made(NEAR, NEAR6),
        change(SEGMENT, replace(SEGMENT, up=False), "up"),
        change(SEGMENT, SEGMENT, "up"),
    ],
    "a link forgets the neighbours of a family with its last IPv4 address, or that its MTU is too small for": [
        made(SEGMENT, VXLAN, GATEWAY, NEAR, NEAR6),
        gone(GATEWAY),
        change(SEGMENT, replace(SEGMENT, mtu=1200), "mtu"),
        made(NEAR6),
    ],
    "a neighbour is whoever was named last": [
        made(SEGMENT, VXLAN, NEAR),
        made(replace(NEAR, mac="02:00:00:00:00:79")),
        change(NEAR, NEAR, "mac"),
        gone(NEAR),
        gone(NEAR),
    ],
    "two VXLAN links can't have the same VNI on one port": [
        made(VXLAN_ALONE, replace(VXLAN_ALONE, path="back#vtep", name="vx1")),
        made(replace(VXLAN_ALONE, path="lan#vtep", name="vx2", options={**VXLAN.options, "port": 4790})),
        made(replace(VXLAN_ALONE, path="dmz#vtep", name="vx3", options=OVER_IPV6)),
        change(VXLAN_ALONE, replace(VXLAN_ALONE, options={"id": 7}), "options.id"),
        change(VXLAN_ALONE, replace(VXLAN_ALONE, options={"local": "192.0.2.88"}), "options.local"),
        change(VXLAN_ALONE, replace(VXLAN_ALONE, options={"local6": "2001:db8::1"}), "options.local6"),
    ],
    "a next hop that is taken for a neighbour need not be reached": [
        made(VXLAN_ALONE, Route(HOST, "10.77.1.0/24", "10.77.1.1", "front#vtep", onlink=True)),
        made(Route(HOST, "10.77.2.0/24", "10.77.2.1", "front#vtep")),
        made(Route(HOST, "fd77:1::/64", "fd77:1::1", "front#vtep", 1024, onlink=True)),
        change(VXLAN_ALONE, replace(VXLAN_ALONE, up=False), "up"),
        made(Route(HOST, "10.77.1.0/24", "10.77.1.1", "front#vtep", onlink=True)),
        made(Route(HOST, "fd77:2::/64", "fd77:2::1", "front#vtep", 1024, onlink=True)),
    ],
    "a table is made, replaced and deleted": [
        made(TABLE),
        change(TABLE, nft_table("accept"), "text"),
        gone(TABLE),
        gone(TABLE),
    ],
}  # fmt: skip


VLAN_LISTS: dict[str, list[list[Change]]] = {
    "a port that says its VLANs is in no other": [
        made(WEB, FILTERING, WEB_VLANS, NATIVE, *TRUNK),
        gone(*TRUNK[1:4]),
        gone(*TRUNK),
    ],
    "how a port is in a VLAN changes in place": [
        made(WEB, FILTERING, WEB_VLANS, NATIVE, *TRUNK),
        change(TRUNK[0], replace(TRUNK[0], pvid=True, untagged=True), "pvid", "untagged"),
        change(NATIVE, replace(NATIVE, pvid=False), "pvid"),
    ],
    "the bridge itself and somebody else's port are in VLANs too": [
        made(FILTERING, BridgeVlan("front", 1, pvid=True, untagged=True), PORT, BridgeVlan("front#uplink", 7)),
        gone(BridgeVlan("front", 1), PORT),
        made(PORT),
    ],
    "filtering is turned on under a port": [
        made(WEB, FRONT, WEB_FRONT),
        [Update(FRONT, FILTERING, ("options.vlan_filtering", "options.vlan_default_pvid", "tags"))],
        [Update(WEB_FRONT, WEB_VLANS, ("tags",))],
        made(NATIVE),
    ],
    "on a bridge of somebody else a port that says its VLANs leaves the one that it is given": [
        made(WEB, replace(WEB_VLANS, master="/canary0"), NATIVE),
        gone(NATIVE),
    ],
    "what is no port is in no VLAN": [
        made(WEB, replace(WEB_VLANS, master=None, port={}), NATIVE, BridgeVlan("db/front", 7)),
    ],
}  # fmt: skip


def make_foreign() -> None:
    """What `new_host` and `FOREIGN` are in memory, in the kernel."""
    _ip("netns add theirs")
    _ip("-n theirs link set lo up")
    lines = []
    for number, name in enumerate(PARENTS):
        lines += [f"link add {name} address 02:aa:00:00:00:0{number} type veth peer name far{number}"]
        lines += [f"link set far{number} up", f"link set {name} up"]
    lines += [
        "addr add 192.0.2.10/24 dev eth0",
        f"link add {CARD} address 02:dd:00:00:00:0f type veth peer name cardfar",
        "link add canary0 address 02:aa:00:00:00:0c type bridge",
        "link set canary0 mtu 1400",  # a bridge whose MTU was never changed has that of its smallest port
        "link set canary0 mtu 1500",
        "link set canary0 up",
        "link add canary-port0 type veth peer name port0 netns theirs",
        "link set canary-port0 master canary0",
    ]
    _ip("-batch -", "\n".join(lines))
    canaries.make("eth0")


def _ip(words: str, lines: str = "") -> None:
    subprocess.run(["ip", *words.split()], input=lines, text=True, check=True, timeout=10)


def outcome(host: Host, changes: Sequence[Change]) -> list[str]:
    """Make the changes; return what became of each, in words that two hosts have in common."""
    words: list[str] = []
    try:
        for change, error in host.apply(changes):
            answer = errno.errorcode.get(error.errno, str(error.errno)) if error else "done"
            words.append(f"{type(change).__name__} {change.key}: {answer}")
    except HostLacks:
        words.append("the host lacks something")
    return words


def common(mine: State, others: State) -> dict[Key, Resource]:
    """Return a state without what hosts can't have in common: what a kernel picks, options that one knows alone."""
    return {
        _place(key): _common(one, others.get(key))
        for key, one in mine.items()
        if not (isinstance(one, Sysctl) and "accept_ra" in one.name)
    }


def _common(one: Resource, other: Resource | None) -> Resource:
    if not isinstance(one, Link):
        return one
    peer = one.peer and replace(one.peer, mac=_given(one.peer.mac), sandbox=re.sub("@.*", "@", one.peer.sandbox))
    options = {name: value for name, value in one.options.items() if isinstance(other, Link) and name in other.options}
    port = {name: value for name, value in one.port.items() if isinstance(other, Link) and name in other.port}
    return replace(one, mac=_given(one.mac), peer=peer, options=options, port=port)


def _given(mac: str | None) -> str | None:
    """Return a MAC that one of the tests gave, None for a random one."""
    return mac if mac and re.match("02:(00|aa|bb):00:00", mac) else None


def _place(key: Key) -> Key:
    return Key(key.kind, re.sub(r"@\S*", "@", key.name))


def compare(fake: FakeHost, real: LinuxHost, where: str, torn: Container[str] = ()) -> None:
    """Demand that both hosts have the same, but for links of those names, which are torn."""
    one, other = (
        {
            key: found
            for key, found in host.observe(SCOPE).state.items()
            if not (isinstance(found, Link) and found.name in torn)
        }
        for host in (fake, real)
    )
    assert common(one, other) == common(other, one), where


def _torn(changes: Sequence[Change], outcomes: Sequence[str]) -> Iterator[str]:
    """Yield the names of links that could not be made, and are there in part perhaps."""
    for change, what in zip(changes, outcomes, strict=False):
        if isinstance(change, Create) and isinstance(change.after, Link) and not what.endswith(("done", "EEXIST")):
            yield change.after.name


def tolerated(fake: str, real: str) -> bool:
    """Whether the outcomes are as they should be. The real host takes it for done if a route is gone already."""
    return fake == real or (fake.startswith("Delete route") and real.endswith("done"))


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS.keys())
def test_both_hosts_do_the_same(lists: list[list[Change]], host: Machine) -> None:
    make_foreign()
    fake, real = strategies.new_host(), LinuxHost()
    fake.kernel.live_rename = True
    FOREIGN.make(fake)
    compare(fake, real, "at first")
    torn: set[str] = set()
    for number, changes in enumerate(lists):
        one_by_one = outcome(fake, changes)
        for one, other in zip(one_by_one, outcome(real, changes), strict=True):
            assert tolerated(one, other), f"list {number}: in memory: {one}; in the kernel: {other}"
        torn |= set(_torn(changes, one_by_one))
        compare(fake, real, f"after list {number}", torn)


@pytest.mark.needs_kernel("vlan_filtering")
@pytest.mark.parametrize("lists", VLAN_LISTS.values(), ids=VLAN_LISTS.keys())
def test_both_hosts_do_the_same_with_vlans(lists: list[list[Change]], host: Machine) -> None:
    test_both_hosts_do_the_same(lists, host)


@pytest.mark.thorough
@settings(max_examples=12)
@given(pair=state_pairs())
def test_both_hosts_go_from_state_to_state(
    pair: tuple[State, State], new_host: Callable[[], AbstractContextManager[Machine]]
) -> None:
    before, after = pair
    with new_host():
        make_foreign()
        fake, real = strategies.new_host(), LinuxHost()
        fake.kernel.live_rename = True
        FOREIGN.make(fake)
        for desired in (before, after, before, {}):
            compare(fake, real, "before")
            plan = diff(desired, fake.observe(SCOPE).state)
            assert outcome(real, plan.changes) == outcome(fake, plan.changes)
            assert not diff(desired, real.observe(SCOPE).state).changes
            for each in (fake, real):
                each.release()
        real.close()
