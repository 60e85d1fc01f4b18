"""The bridge driver's options on real traffic, from the manifest on; tests of the firewall's rules by themselves are in
test_firewall_traffic.py."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.isolation import inside
from tests.machine import Machine, Outside

from .test_manifests import reach, unreached, without_what_stays

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
PREFIXES = ("10.20.0.0/16", "fd00:20::/56")
WEB = {4: "10.20.0.10", 6: "fd00:20::10"}
DB = {4: "10.20.1.10", 6: "fd00:20:0:1::10"}


def shop(front: str = "", back: str = "") -> str:
    """Return a manifest with these driver_opts of networks front (web and api) and back (db)."""
    return f"""
project: shop
networks:
  front: {{driver_opts: {{{front}}}, ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}}}
  back: {{driver_opts: {{{back}}}, ipam: {{config: [{{subnet: 10.20.1.0/24}}, {{subnet: "fd00:20:0:1::/64"}}]}}}}
containers:
  web: {{networks: {{front: {{ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}}}}
  api: {{networks: {{front: {{ipv4_address: 10.20.0.20, ipv6_address: "fd00:20::20"}}}}}}
  db: {{networks: {{back: {{ipv4_address: 10.20.1.10, ipv6_address: "fd00:20:0:1::10"}}}}}}
"""


def outside(host: Machine, name: str = "outside", link: str = "uplink") -> Outside:
    """Make a namespace with routes to the networks, so that only the firewall can stop it."""
    return host.outside(name, link, default_route=name == "outside", routes=PREFIXES)


# gateway modes


MODES = ("nat", "routed", "isolated")


@pytest.mark.parametrize("mode4", MODES)
@pytest.mark.parametrize("mode6", MODES)
def test_each_family_has_its_own_gateway_mode(host: Machine, mode4: str, mode6: str) -> None:
    beyond = outside(host)
    text = shop(f"gateway_mode_ipv4: {mode4}, gateway_mode_ipv6: {mode6}")
    host.netapply("-", stdin=text)
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    for family, mode in ((4, mode4), (6, mode6)):
        gateway, away = {4: "10.20.0.1", 6: "fd00:20::1"}[family], beyond.address(family)
        if mode == "isolated":
            unreached(host, ("web", gateway), ("web", away), ("outside", WEB[family]))
            assert gateway not in host.addresses("", family)
            continue
        reach(host, ("web", gateway), ("web", away))
        seen = host.tcp("web", "outside", away)
        assert seen == (beyond.host_address(family) if mode == "nat" else WEB[family])
        assert host.ping("outside", WEB[family], within=0.5 if mode == "nat" else 3) is (mode == "routed")
    reach(host, ("web", "10.20.0.20"), ("web", "fd00:20::20"))


def test_an_inhibited_gateway_is_left_to_somebody_else(host: Machine) -> None:
    text = shop("inhibit_gateway: true")
    host.netapply("-", stdin=text)
    bridge = "shop-front"
    assert host.json(f"ip -j addr show dev {bridge} scope global")[0].get("addr_info", []) == []
    assert host.json("ip -j route show default", netns="web")[0]["gateway"] == "10.20.0.1"
    host.run(f"ip addr add 10.20.0.1/24 dev {bridge}")  # as keepalived does it
    reach(host, ("web", "10.20.0.1"))
    assert "nothing to do" in host.netapply("-", stdin=text).stdout


# trusted interfaces


@families
def test_a_trusted_link_opens_connections_to_containers_and_no_other_does(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    trusted, other = outside(host), outside(host, "beyond", "second")
    host.netapply("-", stdin=shop("trusted_interfaces: [uplink, wg0]"))
    reach(host, ("outside", WEB[family]), ("web", other.address(family)))
    assert host.tcp("outside", "web", WEB[family]) == trusted.address(family)
    assert host.udp("outside", "api", WEB[family][:-2] + "20") == trusted.address(family)
    unreached(host, ("beyond", WEB[family]), ("outside", DB[family]))
    assert host.tcp("web", "outside", trusted.address(family)) == trusted.host_address(family), (
        "on the way out it is masqueraded"
    )
    assert host.tcp("web", "beyond", other.address(family)) == other.host_address(family)
    host.netapply("-", stdin=shop())
    unreached(host, ("outside", WEB[family]))


def test_trust_opens_no_family_that_is_isolated(host: Machine) -> None:
    outside(host)
    host.netapply("-", stdin=shop("trusted_interfaces: uplink, gateway_mode_ipv6: isolated"))
    reach(host, ("outside", WEB[4]))
    unreached(host, ("outside", WEB[6]))


# source addresses


FIXED = {4: "198.51.100.77", 6: "2001:db8:51::77"}


@families
def test_what_leaves_has_the_address_that_the_network_says(host: Machine, bridge_nf: bool, family: int) -> None:
    beyond = outside(host)
    for one, address in FIXED.items():
        length = 32 if one == 4 else 128
        host.run(f"ip addr add {address}/{length} dev lo")
        host.run(f"ip route add {address}/{length} via {beyond.host_address(one)}", netns="outside")
    both = shop('snat_address: [198.51.100.77, "2001:0db8:51::0077"]')
    host.netapply("-", stdin=both)
    assert "nothing to do" in host.netapply("-", stdin=both).stdout
    reach(host, ("web", beyond.ipv4), ("web", beyond.ipv6))  # once the host may ask who has the IPv6 address
    assert host.tcp("web", "outside", beyond.address(family)) == FIXED[family]
    assert host.udp("db", "outside", beyond.address(family)) == beyond.host_address(family), (
        "the other network is masqueraded"
    )
    host.netapply("-", stdin=shop("snat_address: 198.51.100.77"))
    assert host.tcp("web", "outside", beyond.ipv6) == beyond.host_ipv6, "the family that it does not say is, too"


def test_a_source_address_that_is_not_the_hosts_is_told_before_anything_is_touched(host: Machine) -> None:
    outside(host)
    before = host.snapshot()
    said = host.netapply("-", stdin=shop("snat_address: 198.51.100.77"), code=69).stderr
    assert "network front: its snat_address 198.51.100.77 is no address of the host" in said
    assert "ip address add 198.51.100.77/32 dev lo" in said
    assert host.snapshot() == before


def test_networks_that_stay_with_no_prune_keep_their_source_and_their_trust(host: Machine) -> None:
    beyond = outside(host)
    host.run("ip addr add 198.51.100.77/32 dev lo")
    host.run("ip route add 198.51.100.77/32 via 203.0.113.1", netns="outside")
    host.netapply("-", stdin=shop("snat_address: 198.51.100.77, trusted_interfaces: uplink"))
    left = "project: shop\nnetworks: {new: {ipam: {config: [{subnet: 10.99.0.0/24}]}}}\n"
    host.netapply("--no-prune", "-", stdin=left)
    assert host.tcp("web", "outside", beyond.ipv4) == "198.51.100.77"
    assert host.tcp("outside", "web", WEB[4]) == beyond.ipv4


# hairpin


def frames_sent_back(host: Machine, hairpin: str) -> bool:
    """Whether a frame that a container sends to a second MAC of its own, learnt behind the same port, comes back."""
    host.netapply("-", stdin=shop(hairpin))
    host.run("ip link add inner link eth0 type macvlan mode vepa", netns="web")
    host.run("ip link add other link eth0 type macvlan mode vepa", netns="web")
    for link, address in (("inner", "10.20.0.30"), ("other", "10.20.0.31")):
        host.netns(link)
        host.run(f"ip link set {link} netns {link}", netns="web")
        host.run(f"ip link set {link} up", netns=link)
        host.run(f"ip addr add {address}/24 dev {link}", netns=link)
    return host.ping("inner", "10.20.0.31", within=2 if "true" in hairpin else 0.5)


@pytest.mark.parametrize("on", [True, False])
def test_only_with_hairpin_a_port_sends_back_where_it_came_from(host: Machine, bridge_nf: bool, on: bool) -> None:
    """Two macvlans in mode vepa behind one port reach each other by way of the bridge, or not at all."""
    assert frames_sent_back(host, f"hairpin: {str(on).lower()}") is on


# bridges of others


def guest(name: str, more: str = "") -> str:
    return f"""
project: guest
networks: {{lan: {{external: true, driver_opts: {{name: {name}}}{more}}}}}
containers:
  one: {{networks: {{lan: {{ipv4_address: 10.38.0.11}}}}}}
  two: {{networks: {{lan: {{ipv4_address: 10.38.0.12}}}}}}
"""


def bridge(host: Machine, *settings: str) -> None:
    host.run(["ip", "link", "add", "br0", "address", "02:00:00:00:38:01", "type", "bridge", *settings])
    host.run("ip link set br0 addrgenmode none up")
    host.run("ip addr add 10.38.0.1/24 dev br0")


def details(host: Machine, link: str) -> dict[str, Any]:
    """Return what a bridge is set to, without what its ports and the time make of it."""
    (found,) = host.json(f"ip -j -d addr show dev {link}")
    kept = {name: found.get(name) for name in ("mtu", "address", "group", "ifalias", "addr_info", "link_type")}
    data = found["linkinfo"]["info_data"]
    return kept | {name: value for name, value in data.items() if not name.endswith("_timer")}


def test_an_adopted_bridge_is_as_before_when_ports_come_and_go_and_foreign_ports_stay(host: Machine) -> None:
    bridge(host, "ageing_time", "1000", "forward_delay", "300")
    host.netns("theirs")
    host.run("ip link add port0 master br0 type veth peer name eth0 netns theirs")
    host.run("ip link set port0 addrgenmode none up")
    host.run("ip link set eth0 up", netns="theirs")
    host.run("ip addr add 10.38.0.99/24 dev eth0", netns="theirs")
    as_made, before = details(host, "br0"), without_what_stays(host.snapshot())
    host.netapply("-", stdin=guest("br0"))
    reach(host, ("one", "10.38.0.12"), ("one", "10.38.0.99"), ("theirs", "10.38.0.12"), ("one", "10.38.0.1"))
    assert "nothing to do" in host.netapply("-", stdin=guest("br0")).stdout
    alone = "\n".join(line for line in guest("br0").splitlines() if "two:" not in line)
    host.netapply("-", stdin=alone)
    assert details(host, "br0") == as_made
    host.netapply("destroy", "-", stdin=alone)
    assert details(host, "br0") == as_made
    assert without_what_stays(host.snapshot()) == before
    reach(host, ("theirs", "10.38.0.1"))


def test_an_adopted_bridge_whose_mac_is_that_of_a_port_keeps_it(host: Machine) -> None:
    host.run("ip link add br0 type bridge")
    host.run("ip link set br0 up")
    host.run("ip addr add 10.38.0.1/24 dev br0")
    host.run("ip link add port0 address fa:ff:ff:00:00:01 type veth peer name far")
    host.run("ip link set port0 master br0")
    assert details(host, "br0")["address"] == "fa:ff:ff:00:00:01"
    host.netapply("-", stdin=guest("br0"))
    assert details(host, "br0")["address"] == "fa:ff:ff:00:00:01"


def test_an_adopted_bridge_that_is_gone_is_told_and_one_that_comes_again_is_used(host: Machine) -> None:
    bridge(host)
    host.netapply("-", stdin=guest("br0"))
    host.run("ip link del br0")
    assert "the host has no link br0" in host.netapply("-", stdin=guest("br0"), code=69).stderr
    bridge(host)
    host.netapply("-", stdin=guest("br0"))
    reach(host, ("one", "10.38.0.12"), ("one", "10.38.0.1"))


def test_a_port_that_somebody_takes_out_of_an_adopted_bridge_is_put_back(host: Machine) -> None:
    bridge(host)
    host.netapply("-", stdin=guest("br0"))
    port = next(one["ifname"] for one in host.json("ip -j link show master br0"))
    host.run(f"ip link set {port} nomaster")
    assert "bridge none → br0" in host.netapply("-", stdin=guest("br0")).stdout
    reach(host, ("one", "10.38.0.12"))


def test_the_ports_of_an_adopted_bridge_have_its_mtu(host: Machine) -> None:
    bridge(host)
    host.run("ip link set br0 mtu 1400")
    host.netapply("-", stdin=guest("br0"))
    assert details(host, "br0")["mtu"] == 1400
    assert host.ping("one", "10.38.0.12", size=1400, fragment=False)
    assert not host.ping("one", "10.38.0.12", size=1401, fragment=False, within=0.5)
    assert "nothing to do" in host.netapply("-", stdin=guest("br0")).stdout


def test_the_bridge_of_another_project_can_be_joined_and_outlives_who_joined(host: Machine) -> None:
    other = "project: other\nnetworks: {lan: {driver_opts: {name: br0}, ipam: {config: [{subnet: 10.38.0.0/24}]}}}\n"
    other += "containers: {host1: {networks: {lan: {ipv4_address: 10.38.0.50}}}}\n"
    host.netapply("-", stdin=other)
    as_made = details(host, "br0")
    host.netapply("-", stdin=guest("br0"))
    reach(host, ("one", "10.38.0.50"), ("host1", "10.38.0.12"))
    assert "nothing to do" in host.netapply("-", stdin=other).stdout
    host.netapply("destroy", "-", stdin=guest("br0"))
    assert details(host, "br0") == as_made
    assert "nothing to do" in host.netapply("-", stdin=other).stdout


def test_what_docker_makes_is_joined_with_its_addresses_and_left_as_it_was(host: Machine) -> None:
    """docker0 as Docker 20.10 leaves it: an address, no ports, and chains that a frame between two ports never sees."""
    host.run("ip link add docker0 address 02:42:00:00:00:01 type bridge")
    host.run("ip addr add 172.17.0.1/16 brd 172.17.255.255 dev docker0")
    host.run("ip link set docker0 addrgenmode none up")
    rules = "table ip nat { chain DOCKER { iifname docker0 return; }; chain POSTROUTING { type nat hook postrouting"
    rules += " priority 100; ip saddr 172.17.0.0/16 oifname != docker0 masquerade; }; }"
    subprocess.run(["nft", rules], check=True, timeout=10)
    text = guest("docker0").replace("10.38.0.11", "172.17.200.11").replace("10.38.0.12", "172.17.200.12")
    before = without_what_stays(host.snapshot())
    host.netapply("-", stdin=text)
    reach(host, ("one", "172.17.200.12"), ("one", "172.17.0.1"))
    assert host.json("ip -j route show default", netns="one")[0]["gateway"] == "172.17.0.1"
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    host.netapply("destroy", "-", stdin=text)
    assert without_what_stays(host.snapshot()) == before


def test_a_link_that_is_no_bridge_cannot_be_adopted(host: Machine) -> None:
    host.run("ip link add br0 type veth peer name far")
    host.run("ip addr add 10.38.0.1/24 dev br0")
    assert "br0 is a veth link, and endpoints need a bridge" in host.netapply("-", stdin=guest("br0"), code=69).stderr


def test_uplinks_and_the_like_are_not_ours_to_set_on_a_bridge_of_somebody_else(host: Machine) -> None:
    text = guest("br0, uplink: eth1, trusted_interfaces: eth2, vlan_filtering: true")
    said = host.netapply("validate", "-", stdin=text, code=65).stderr
    assert said.count("network lan is external") == 3


def test_a_hairpin_that_is_turned_off_by_hand_is_drift(host: Machine) -> None:
    host.netapply("-", stdin=shop("hairpin: true"))
    port = next(one["ifname"] for one in host.json("ip -j link show master shop-front"))
    host.run(f"ip link set {port} type bridge_slave hairpin off")
    assert "port hairpin off → on" in host.netapply("-", stdin=shop("hairpin: true")).stdout
    with inside(""):
        shown = subprocess.run(["ip", "-j", "-d", "link", "show", port], capture_output=True, check=True, timeout=10)
    assert json.loads(shown.stdout)[0]["linkinfo"]["info_slave_data"]["hairpin"] is True
