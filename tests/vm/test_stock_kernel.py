"""A stock kernel has what this tier is for, and does it; netapply's main job works on it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.isolation import inside
from tests.kernel.test_manifests import reach, unreached, without_what_stays
from tests.machine import NETAPPLY, Machine

pytestmark = pytest.mark.thorough  # it is about the kernel, the same one each time, or takes four starts of Python


def wire(host: Machine) -> None:
    """Make namespaces `one` and `two`, with a link eth0 to each other."""
    host.netns("one")
    host.netns("two")
    host.run("ip link add eth0 netns one type veth peer name eth0 netns two")
    for name in ("one", "two"):
        host.run("ip link set eth0 up", netns=name)


def give(host: Machine, name: str, link: str, *addresses: str) -> None:
    """Set a link of a namespace up, with addresses that can be used at once."""
    host.run(f"ip link set {link} up", netns=name)
    for address in addresses:
        host.run(["ip", "addr", "add", address, "dev", link, *(["nodad"] if ":" in address else [])], netns=name)


@pytest.mark.needs_kernel("dummy")
def test_a_dummy_link_carries_addresses(host: Machine) -> None:
    host.run("ip link add nowhere type dummy")
    give(host, "", "nowhere", "192.0.2.1/24", "2001:db8::1/64")
    reach(host, ("", "192.0.2.1"), ("", "2001:db8::1"))
    unreached(host, ("", "192.0.2.2"))


@pytest.mark.needs_kernel("vlan")
def test_vlan_links_reach_each_other_by_their_number(host: Machine) -> None:
    wire(host)
    for name, last, numbers in (("one", 1, (5, 6)), ("two", 2, (5, 7))):
        for link, number in zip(("same", "other"), numbers, strict=True):
            subnet = 5 if link == "same" else 6
            host.run(f"ip link add {link} link eth0 type vlan id {number}", netns=name)
            give(host, name, link, f"192.0.{subnet}.{last}/24", f"2001:db8:{subnet}::{last}/64")
    reach(host, ("one", "192.0.5.2"), ("two", "2001:db8:5::1"))
    unreached(host, ("one", "192.0.6.2"), ("two", "2001:db8:6::1"))


@pytest.mark.needs_kernel("ipvlan")
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_ipvlan_links_on_one_parent_reach_each_other(host: Machine, mode: str) -> None:
    host.outside()
    for number, name in enumerate(("one", "two"), 11):
        host.netns(name)
        host.run(f"ip link add eth0 netns {name} link uplink type ipvlan mode {mode} bridge")
        give(host, name, "eth0", f"203.0.113.{number}/24", f"2001:db8:113::{number}/64")
    reach(host, ("one", "203.0.113.12"), ("two", "2001:db8:113::11"))
    unreached(host, ("one", "203.0.113.1"))  # an ipvlan's parent is out of its reach


@pytest.mark.needs_kernel("vlan_filtering")
def test_a_bridge_keeps_vlans_apart(host: Machine) -> None:
    host.run("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0")
    host.run("ip link set br0 up")
    for number, (name, vlan) in enumerate((("one", 10), ("two", 10), ("three", 20)), 1):
        host.netns(name)
        host.run(f"ip link add port{number} master br0 type veth peer name eth0 netns {name}")
        host.run(f"ip link set port{number} up")
        host.run(f"bridge vlan add dev port{number} vid {vlan} pvid untagged")
        give(host, name, "eth0", f"192.0.2.{number}/24", f"2001:db8::{number}/64")
    reach(host, ("one", "192.0.2.2"), ("two", "2001:db8::1"))
    unreached(host, ("one", "192.0.2.3"), ("three", "2001:db8::2"))


@pytest.mark.needs_kernel("wireguard")
def test_a_wireguard_tunnel_carries_both_families(host: Machine) -> None:
    wire(host)
    keys = {}
    for number, name in enumerate(("one", "two"), 1):
        give(host, name, "eth0", f"192.0.2.{number}/24")
        host.run("ip link add wg0 type wireguard", netns=name)
        give(host, name, "wg0", f"10.9.0.{number}/24", f"fd00:9::{number}/64")
        keys[name] = set_key(name, bytes([number]) * 32)
    for name, other, number in (("one", "two", 2), ("two", "one", 1)):
        peer = {
            "public_key": keys[other],
            "endpoint_addr": f"192.0.2.{number}",
            "endpoint_port": 51820,
            "allowed_ips": [f"10.9.0.{number}/32", f"fd00:9::{number}/128"],
        }
        wireguard(name, peer=peer)
    reach(host, ("one", "10.9.0.2"), ("two", "fd00:9::1"))
    host.run("ip link set eth0 down", netns="one")
    unreached(host, ("two", "10.9.0.1"))


def wireguard(netns: str, **settings: Any) -> Any:
    """Change the settings of a namespace's wg0; returns what it is then."""
    from pyroute2 import WireGuard  # type: ignore[import-untyped]

    with inside(netns), WireGuard() as handle:
        handle.set("wg0", **settings)
        return handle.info("wg0")[0]


def set_key(netns: str, private: bytes) -> str:
    """Give wg0 a private key and the usual port; returns the public key, which the kernel computes."""
    device = wireguard(netns, private_key=base64.b64encode(private).decode(), listen_port=51820)
    return str(device.get_attr("WGDEVICE_A_PUBLIC_KEY").decode())


SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  lan:
    driver: macvlan
    driver_opts: {parent: uplink}
    ipam:
      config:
        - {subnet: 203.0.113.0/24, gateway: 203.0.113.2}
        - {subnet: "2001:db8:113::/64", gateway: "2001:db8:113::2"}
containers:
  web:
    networks:
      front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}
      lan: {ipv4_address: 203.0.113.10, ipv6_address: "2001:db8:113::10"}
  db: {networks: {front: {ipv4_address: 10.20.0.20, ipv6_address: "fd00:20::20"}}}
  tv: {networks: {lan: {ipv4_address: 203.0.113.30, ipv6_address: "2001:db8:113::30"}}}
"""


def test_the_command_applies_then_does_nothing_and_destroys_without_a_trace(host: Machine) -> None:
    host.outside()
    before = without_what_stays(host.snapshot())

    host.run([*NETAPPLY, "-"], stdin=SHOP)
    reach(host, ("web", "10.20.0.20"), ("web", "fd00:20::20"), ("web", "203.0.113.30"), ("tv", "2001:db8:113::10"))
    reach(host, ("db", "203.0.113.2"), ("db", "2001:db8:113::2"), ("tv", "203.0.113.2"))
    reach(host, ("outside", "2001:db8:113::30"))
    unreached(host, ("tv", "10.20.0.20"), ("outside", "10.20.0.10"))

    applied = [host.snapshot(name) for name in ("", "web", "db", "tv")]
    assert "nothing to do" in host.run([*NETAPPLY, "-"], stdin=SHOP).stdout
    assert [host.snapshot(name) for name in ("", "web", "db", "tv")] == applied

    host.run([*NETAPPLY, "destroy", "-"], stdin=SHOP)
    assert without_what_stays(host.snapshot()) == before
