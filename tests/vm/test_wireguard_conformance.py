"""WireGuard links and what stands on them: the host in memory does as the kernel does."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest

from reconciler.plan import Change
from reconciler.resources import (
    FENCES,
    HOST,
    WIREGUARD,
    Address,
    FdbEntry,
    Link,
    Route,
    Wireguard,
    WireguardPeer,
)
from reconciler.x25519 import public_key
from tests.kernel import test_conformance as conformance
from tests.kernel.test_conformance import change, gone, made
from tests.machine import Machine
from tests.strategies.overlays import PUBLIC, write_keys

pytestmark = pytest.mark.needs_kernel("wireguard")

FRONT = replace(conformance.FRONT, mtu=1370, mac="02:00:00:00:00:0f")
WG = Link(WIREGUARD, "wireguard", HOST, "wgshop", 1440, ipv6=False, sysctls={"ipv6.conf.disable_ipv6": "0"})
SELF = Wireguard(WIREGUARD, PUBLIC["/run/first.key"], 51820, "/run/first.key")
OTHER = replace(SELF, public_key=PUBLIC["/run/second.key"], key_file="/run/second.key")
TWO = WireguardPeer(
    WIREGUARD, b64encode(public_key(b"\3" * 32)).decode(), "192.0.2.12:51820", ("fd00:99::2/128",), host="two"
)
THREE = replace(
    TWO, public_key=b64encode(public_key(b"\4" * 32)).decode(), endpoint="[2001:db8::3]:9", allowed_ips=("10.0.0.0/8",)
)
OWN = Address(WIREGUARD, "fd00:99::1/128")
WAY = Route(HOST, "fd00:99::/64", link=WIREGUARD, metric=1024)
FENCE = Route(HOST, "fd00:99::/64", metric=FENCES.start + 1, type="unreachable")
VXLAN = Link(
    "front#vxlan",
    "vxlan",
    HOST,
    "vx0",
    1370,
    "02:bb:00:00:01:01",
    master="front",
    parent=WIREGUARD,
    options={"id": 5000, "local6": "fd00:99::1", "port": 4789, "learning": False},
    ipv6=False,
)
ENTRY = FdbEntry("front#vxlan", "02:cc:00:00:00:01", "fd00:99::2")
ALL = made(FRONT, WG, VXLAN, SELF, TWO, THREE, ENTRY, OWN, WAY)

LISTS: dict[str, list[list[Change]]] = {
    "all of it is made, and goes with its link": [ALL, gone(WG), gone(VXLAN, TWO, SELF), made(WG, SELF, OWN, WAY)],
    "what stands on it can go alone": [ALL, gone(VXLAN), made(VXLAN), gone(VXLAN, WG)],
    "many links are deleted in one request": [
        [*ALL, *made(replace(WG, path="#a", name="wga"))],
        gone(VXLAN, WG, FRONT),
    ],
    "nothing is made twice or on what is not there": [
        made(SELF, TWO, OWN, replace(VXLAN, master=None)),
        made(WG, WG, SELF, SELF, TWO, TWO),
    ],
    "it goes down, and what it carries with it": [
        ALL,
        change(WG, replace(WG, up=False), "up"),
        change(replace(WG, up=False), WG, "up"),
        made(OWN, WAY),
    ],
    "a VXLAN link is no larger than what it stands on leaves": [
        made(FRONT, WG, replace(VXLAN, mtu=1400)),
        change(VXLAN, replace(VXLAN, mtu=1371), "mtu"),
        change(VXLAN, replace(VXLAN, mtu=1300), "mtu"),
        change(WG, replace(WG, mtu=1400), "mtu"),
        change(VXLAN, replace(VXLAN, mtu=1331), "mtu"),
    ],
    "a key comes from its own file or not at all": [
        made(WG),
        made(replace(SELF, key_file="/run/second.key")),
        made(replace(SELF, key_file="/run/nothing")),
        made(SELF),
        change(SELF, OTHER, "public_key"),
        change(OTHER, replace(SELF, listen_port=51999), "public_key", "listen_port"),
    ],
    "a peer of one's own key is nobody": [
        made(WG, SELF, replace(TWO, public_key=OTHER.public_key), replace(TWO, public_key=SELF.public_key)),
        change(SELF, OTHER, "public_key"),
    ],
    "a prefix is one peer's": [
        made(WG, SELF, TWO, THREE),
        change(TWO, replace(TWO, allowed_ips=("10.0.0.0/8", "fd00:99::5/128")), "allowed_ips"),
        gone(TWO, TWO),
    ],
    "a port is one link's": [
        made(WG, SELF, replace(WG, path="#b", name="wgb")),
        made(replace(OTHER, link="#b")),
        made(replace(OTHER, link="#b", listen_port=51999)),
    ],
    "what is no WireGuard link has no key": [made(FRONT, replace(SELF, link="front"), replace(TWO, link="front"))],
    "a fence stands beside the way, whose else it is": [made(WG, OWN, FENCE, WAY), gone(WAY), gone(FENCE, FENCE)],
}


@pytest.mark.thorough
@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS.keys())
def test_the_host_in_memory_does_as_the_kernel_does(lists: list[list[Change]], host: Machine) -> None:
    write_keys()
    conformance.test_both_hosts_do_the_same(lists, host)
