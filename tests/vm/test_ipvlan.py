"""ipvlan networks: every mode and flag, several on one parent, and what others have there."""

from __future__ import annotations

import pytest

from tests.kernel.test_manifests import reach, unreached, without_what_stays
from tests.machine import Machine

pytestmark = pytest.mark.needs_kernel("ipvlan")

WITHIN_LAN = """
version: 1
project: shop
networks:
  lan:
    driver: ipvlan
    driver_opts: {parent: uplink, OPTIONS}
    ipam:
      config:
        - {subnet: 203.0.113.0/24, gateway: 203.0.113.2}
        - {subnet: "2001:db8:113::/64", gateway: "2001:db8:113::2"}
containers:
  web: {networks: {lan: {ipv4_address: 203.0.113.65, ipv6_address: "2001:db8:113::65"}}}
  db: {networks: {lan: {ipv4_address: 203.0.113.66, ipv6_address: "2001:db8:113::66"}}}
"""
ROUTED = """
version: 1
project: shop
networks:
  lan:
    driver: ipvlan
    driver_opts: {parent: uplink, mode: MODE}
    ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}
  far:
    driver: ipvlan
    driver_opts: {parent: uplink, mode: MODE}
    ipam: {config: [{subnet: 10.21.0.0/24}, {subnet: "fd00:21::/64"}]}
containers:
  web: {networks: {lan: {ipv4_address: 10.20.0.65, ipv6_address: "fd00:20::65"}}}
  db: {networks: {far: {ipv4_address: 10.21.0.66, ipv6_address: "fd00:21::66"}}}
"""
ROUTES = ("10.20.0.0/24", "10.21.0.0/24", "fd00:20::/64", "fd00:21::/64")


def lan(options: str) -> str:
    return WITHIN_LAN.replace("OPTIONS", options)


def test_endpoints_in_l2_are_on_the_physical_network_with_their_parents_mac(host: Machine) -> None:
    outside = host.outside()
    before = without_what_stays(host.snapshot())
    host.netapply("-", stdin=lan("mode: l2"))
    reach(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::65"), ("web", outside.ipv4), ("web", outside.ipv6))
    reach(host, ("outside", "203.0.113.65"), ("outside", "2001:db8:113::66"))
    unreached(host, ("", "203.0.113.65"), ("web", outside.host_ipv4))
    macs = {
        host.json(f"ip -j link show {link}", netns=name)[0]["address"]
        for name, link in (("web", "eth0"), ("", "uplink"))
    }
    assert len(macs) == 1
    assert host.tcp("web", "outside", outside.ipv4) == "203.0.113.65"
    assert "nothing to do" in host.netapply("-", stdin=lan("mode: l2")).stdout
    host.netapply("destroy", "-", stdin=lan("mode: l2"))
    assert without_what_stays(host.snapshot()) == before


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_networks_in_l3_share_a_parent_and_are_routed_by_the_host(host: Machine, mode: str) -> None:
    outside = host.outside(routes=ROUTES)
    manifest = ROUTED.replace("MODE", mode)
    with host.flow("", outside.ipv4) as flow:
        host.netapply("-", stdin=manifest)
    assert flow.lost == 0
    reach(host, ("web", "10.21.0.66"), ("db", "fd00:20::65"), ("web", outside.ipv4), ("db", outside.ipv6))
    reach(host, ("outside", "10.20.0.65"), ("outside", "fd00:21::66"))
    assert host.tcp("web", "outside", outside.ipv4) == "10.20.0.65"
    assert host.tcp("outside", "db", "fd00:21::66") == outside.ipv6
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


@pytest.mark.parametrize("flag", ["private", "vepa"])
def test_flags_keep_endpoints_apart_and_leave_them_the_way_out(host: Machine, flag: str) -> None:
    outside = host.outside()
    host.netapply("-", stdin=lan(f"flag: {flag}"))
    reach(host, ("web", outside.ipv4), ("db", outside.ipv6))
    unreached(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::65"))


def test_mode_and_flag_change_under_live_endpoints(host: Machine) -> None:
    host.outside()
    host.netapply("-", stdin=lan("mode: l2, flag: private"))
    (before,) = host.json("ip -j -d link show eth0", netns="web")
    changed = host.netapply("-", stdin=lan("mode: l3")).stdout
    assert "flag private → bridge" in changed
    assert "mode l2 → l3" in changed
    (after,) = host.json("ip -j -d link show eth0", netns="web")
    assert (after["ifindex"], after["linkinfo"]["info_data"]["mode"]) == (before["ifindex"], "l3")
    reach(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::65"))
    host.netapply("-", stdin=lan("mode: l2"))
    reach(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::2"))


def test_drift_of_the_mode_is_mended_for_all(host: Machine) -> None:
    host.outside()
    host.netapply("-", stdin=lan("mode: l2"))
    host.run("ip link set eth0 type ipvlan mode l3", netns="db")
    host.netapply("plan", "--detailed-exitcode", "-", stdin=lan("mode: l2"), code=2)
    host.netapply("-", stdin=lan("mode: l2"))
    reach(host, ("web", "203.0.113.66"), ("web", "203.0.113.2"))


def test_links_of_others_on_the_parent_are_in_the_way_where_they_differ(host: Machine) -> None:
    host.outside()
    host.netns("theirs")
    host.run("ip link add theirs0 link uplink netns theirs type ipvlan mode l3")
    before = host.snapshot("theirs")
    refused = host.netapply("-", stdin=lan("mode: l2"), code=3).stderr
    assert "ipvlan theirs0 in netns:theirs stands on uplink with mode l3" in refused
    host.netapply("-", stdin=lan("mode: l3"))
    host.netapply("-", stdin=lan("mode: l2"), code=3)
    host.netapply("destroy", "-", stdin=lan("mode: l3"))
    assert host.snapshot("theirs") == before
    host.run("ip link del theirs0", netns="theirs")
    host.run("ip link add theirs0 link uplink netns theirs type macvlan mode bridge")
    assert "can't have an ipvlan" in host.netapply("-", stdin=lan("mode: l2"), code=3).stderr


def test_an_endpoint_changes_from_macvlan_to_ipvlan_and_back(host: Machine) -> None:
    host.outside()
    macvlan = lan("mode: bridge").replace("ipvlan", "macvlan")
    for manifest in (macvlan, lan("mode: l2"), macvlan):
        host.netapply("-", stdin=manifest)
        reach(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::2"))


@pytest.mark.needs_kernel("dummy")
def test_without_a_default_route_containers_are_on_a_dummy_and_stay_there(host: Machine) -> None:
    manifest = lan("mode: l2").replace("parent: uplink, ", "")
    assert "names no parent and stands on a dummy link" in host.netapply("-", stdin=manifest).stdout
    reach(host, ("web", "203.0.113.66"), ("db", "2001:db8:113::65"))
    assert host.json("ip -j route show default", netns="web") == []
    host.outside()
    again = host.netapply("-", stdin=manifest).stdout
    assert "nothing to do" in again
    assert "parent: uplink is where the host's default route leaves" in again
    host.netapply("-", stdin=lan("mode: l2"))
    reach(host, ("web", "203.0.113.2"))
    assert "dummy" not in host.run("ip -d link").stdout
