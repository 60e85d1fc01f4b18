"""What networks are for: packets arrive where they should, and nowhere else, in both families."""

from __future__ import annotations

import pytest

from tests.machine import Machine

SHOP = """
version: 1
project: shop
networks:
  front: {{mtu: {mtu}, ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}}}
  back: {{internal: true, ipam: {{config: [{{subnet: 10.21.0.0/24}}, {{subnet: "fd00:21::/64"}}]}}}}
  side: {{ipam: {{config: [{{subnet: 10.22.0.0/24}}, {{subnet: "fd00:22::/64"}}]}}}}
containers:
  web: {{networks: {{front: {{ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}, back: {{}}}}}}
  api: {{networks: {{front: {{ipv4_address: {api}, ipv6_address: "fd00:20::{api6}"}}}}}}
  db: {{networks: {{back: {{ipv4_address: 10.21.0.30, ipv6_address: "fd00:21::30"}}}}}}
  cron: {{networks: {{back: {{ipv4_address: 10.21.0.40, ipv6_address: "fd00:21::40"}}}}}}
  shell: {{networks: {{side: {{ipv4_address: 10.22.0.50, ipv6_address: "fd00:22::50"}}}}}}
"""

WEB = {4: "10.20.0.10", 6: "fd00:20::10"}
API = {4: "10.20.0.20", 6: "fd00:20::20"}
DB = {4: "10.21.0.30", 6: "fd00:21::30"}
SHELL = {4: "10.22.0.50", 6: "fd00:22::50"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


def shop(mtu: int = 1500, api: str = "10.20.0.20", api6: str = "20") -> str:
    return SHOP.format(mtu=mtu, api=api, api6=api6)


def apply(host: Machine, text: str, *options: str) -> str:
    """Apply a manifest, and once more to no effect; return what the first run said."""
    said = host.netapply("-", *options, stdin=text).stdout
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    return said


@families
def test_containers_on_one_network_reach_each_other(host: Machine, bridge_nf: bool, family: int) -> None:
    apply(host, shop())
    assert host.ping("web", API[family])
    assert host.tcp("web", "api", API[family]) == WEB[family]
    assert host.udp("api", "web", WEB[family]) == API[family]


@families
def test_a_packet_of_exactly_the_mtu_passes_and_a_larger_one_does_not(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    apply(host, shop(mtu=1400))
    assert host.ping("web", API[family], size=1400, fragment=False)
    assert not host.ping("web", API[family], size=1401, fragment=False, within=0.5)


@families
def test_what_leaves_the_host_has_the_hosts_address(host: Machine, bridge_nf: bool, family: int) -> None:
    outside = host.outside()
    apply(host, shop())
    target, source = outside.address(family), outside.host_address(family)
    assert host.ping("web", target)
    assert host.tcp("api", "outside", target) == source
    assert host.udp("api", "outside", target) == source


@families
def test_container_addresses_are_closed_to_the_outside_in_nat_mode(host: Machine, bridge_nf: bool, family: int) -> None:
    host.outside(routes=("10.20.0.0/14", "fd00::/8"))
    apply(host, shop())
    assert host.tcp("outside", "web", WEB[family], within=0.5) is None
    assert not host.ping("outside", WEB[family], within=0.5)


@families
def test_networks_are_isolated_from_each_other(host: Machine, bridge_nf: bool, family: int) -> None:
    apply(host, shop())
    for source, target in (("shell", WEB), ("web", SHELL), ("api", SHELL), ("shell", API)):
        assert not host.ping(source, target[family], within=0.5), f"{source} reaches {target[family]}"
    assert host.tcp("shell", "api", API[family], within=0.5) is None


@families
def test_an_internal_network_has_no_way_out_or_in(host: Machine, bridge_nf: bool, family: int) -> None:
    outside = host.outside(routes=("10.20.0.0/14", "fd00::/8"))
    apply(host, shop())
    away = outside.address(family)
    host.run(f"ip route add default via {'10.21.0.1' if family == 4 else 'fd00:21::1'}", netns="db")
    assert host.ping("db", "10.21.0.40" if family == 4 else "fd00:21::40")
    assert host.ping("web", DB[family])
    assert not host.ping("db", away, within=0.5)
    assert not host.ping("db", API[family], within=0.5)
    assert not host.ping("outside", DB[family], within=0.5)


@families
def test_moving_an_address_loses_no_packet_of_other_flows(host: Machine, bridge_nf: bool, family: int) -> None:
    apply(host, shop())
    with host.flow("web", DB[family]) as flow:
        said = apply(host, shop(api="10.20.0.99", api6="99"))
        flow.go_on()
    assert flow.sent > 10
    assert flow.lost == 0
    assert "10.20.0.99" in said
    assert host.ping("web", "10.20.0.99" if family == 4 else "fd00:20::99")
    assert not host.ping("web", API[family], within=0.5)


EDITS = {
    "mtu": ("mtu: 1500", "mtu: 1300"),
    "option": ("back: {internal: true", "back: {internal: true, driver_opts: {hairpin: true}"),
    "subnet": ("10.22.0.", "10.32.0."),
    "driver": ("side: {ipam", "side: {driver: macvlan, driver_opts: {parent: uplink}, ipam"),
    "gateway": ('{subnet: "fd00:22::/64"}', '{subnet: "fd00:22::/64", gateway: "fd00:22::ff"}'),
    "firewall": ("side: {ipam", "side: {driver_opts: {icc: false}, ipam"),
    "gone": ('  shell: {networks: {side: {ipv4_address: 10.22.0.50, ipv6_address: "fd00:22::50"}}}\n', ""),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_loses_no_packet_on_networks_that_it_does_not_touch(host: Machine, edit: str) -> None:
    """What an edit does to a flow it does each time. One packet may be lost to the machine: all its namespaces have one
    table of neighbours for each family, and when it is full (gc_thresh3) nobody gets another entry."""
    host.outside()
    before = shop()
    after = before.replace(*EDITS[edit])
    assert after != before
    told = []
    for _ in range(3):
        apply(host, before, "--force")
        with host.flow("web", API[4]) as ipv4, host.flow("web", API[6]) as ipv6:
            apply(host, after, "--force")
            ipv4.go_on()
            ipv6.go_on()
        assert min(ipv4.sent, ipv6.sent) > 10
        told.append((ipv4.lost, ipv6.lost, ipv4.refused, ipv6.refused))
        if told[-1][:2] == (0, 0):
            break
    assert told[-1][:2] == (0, 0), told


ON_BRIDGE = """
version: 1
project: shop
networks:
  front:
    mtu: 1400
    ipam: {config: [{subnet: 10.20.0.0/24, ip_range: 10.20.0.128/25}, {subnet: "fd00:20::/64"}]}
  lan:
    driver: macvlan
    driver_opts: {parent: shop-front}
    internal: true
    enable_ipv6: true
    ipam: {config: [{subnet: 10.20.0.0/24, ip_range: 10.20.0.64/26}]}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.200, ipv6_address: "fd00:20::10"}}}
  tap: {networks: {lan: {ipv4_address: 10.20.0.70}}}
"""


def test_a_macvlan_on_a_bridge_of_the_manifest_is_on_its_segment(host: Machine, bridge_nf: bool) -> None:
    assert "(macvlan on network front)" in apply(host, ON_BRIDGE)
    assert host.ping("tap", "10.20.0.200", size=1400, fragment=False)
    assert host.tcp("web", "tap", "10.20.0.70") == "10.20.0.200"
    host.run("ip link set eth0 down", netns="tap")
    assert "endpoint tap" in apply(host, ON_BRIDGE)
    said = apply(
        host, ON_BRIDGE.replace("mtu: 1400", "mtu: 1300\n    driver_opts: {name: br9}").replace("shop-front", "br9")
    )
    assert "replaced" not in said.replace("0 replaced", "")
    assert host.ping("tap", "10.20.0.200", size=1300, fragment=False)
    host.netapply("destroy", "--project", "shop")
    assert [one["ifname"] for one in host.json("ip -j link")] == ["lo"]


def test_macvlans_go_with_the_bridge_that_they_stand_on_and_come_back_with_it(host: Machine) -> None:
    apply(host, ON_BRIDGE)
    host.run("ip link delete shop-front")
    assert "endpoint tap" in apply(host, ON_BRIDGE)
    assert host.ping("tap", "10.20.0.200")


@pytest.mark.parametrize(("mode", "reached"), [("bridge", True), ("private", False)])
@families
def test_macvlan_endpoints_talk_in_bridge_mode_and_never_in_private_mode(
    host: Machine, family: int, mode: str, reached: bool
) -> None:
    host.outside("lan", "eth0", default_route=False)
    apply(
        host,
        f"""
version: 1
project: lan
networks:
  lan:
    driver: macvlan
    driver_opts: {{parent: eth0, mode: {mode}}}
    ipam:
      config:
        - {{subnet: 203.0.113.0/24, gateway: 203.0.113.2}}
        - {{subnet: "2001:db8:113::/64", gateway: "2001:db8:113::2"}}
containers:
  one: {{networks: {{lan: {{ipv4_address: 203.0.113.11, ipv6_address: "2001:db8:113::11"}}}}}}
  two: {{networks: {{lan: {{ipv4_address: 203.0.113.12, ipv6_address: "2001:db8:113::12"}}}}}}
""",
    )
    other = "203.0.113.12" if family == 4 else "2001:db8:113::12"
    away = "203.0.113.2" if family == 4 else "2001:db8:113::2"
    assert host.ping("one", away)
    assert host.ping("one", other, within=3.0 if reached else 0.7) is reached
    assert (host.tcp("one", "two", other, within=1.0) is not None) is reached
