"""Bridges that keep VLANs apart: ours, with an uplink that is a trunk, and somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.test_manifests import reach, unreached, without_what_stays
from tests.machine import Machine

pytestmark = pytest.mark.needs_kernel("vlan_filtering")

LAB = """
project: lab
networks:
  lan:
    driver_opts: {name: lan0, vlan_filtering: true, uplink: eth1}
    ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}
containers:
  plain: {networks: {lan: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}
  red1: {networks: {lan: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11", driver_opts: {vlan: 10}}}}
  red2: {networks: {lan: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12", driver_opts: {vlan: 10}}}}
  blue: {networks: {lan: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13", driver_opts: {vlan: 20}}}}
  router: {networks: {lan: {ipv4_address: 10.20.0.14, driver_opts: {trunk: [10, "20-22"]}}}}
"""


def switch(host: Machine) -> None:
    """Make a link eth1 that leads to a namespace `switch`, which is in VLAN 10 there, and `far` in VLAN 20."""
    host.netns("switch")
    host.run("ip link add eth1 type veth peer name eth0 netns switch")
    host.run("ip link set eth0 up", netns="switch")
    tag(host, "switch", "eth0", 10, "10.20.0.110/24", "fd00:20::110/64")
    host.netns("far")
    host.run("ip link add link eth0 name v20 netns far type vlan id 20", netns="switch")
    give(host, "far", "v20", "10.20.0.120/24", "fd00:20::120/64")


def tag(host: Machine, netns: str, link: str, vlan: int, *addresses: str) -> None:
    host.run(f"ip link add link {link} name v{vlan} type vlan id {vlan}", netns=netns)
    give(host, netns, f"v{vlan}", *addresses)


def give(host: Machine, netns: str, link: str, *addresses: str) -> None:
    host.run(f"ip link set {link} up", netns=netns)
    for address in addresses:
        host.run(["ip", "addr", "add", address, "dev", link, *(["nodad"] if ":" in address else [])], netns=netns)


def vlans(host: Machine, link: str) -> list[tuple[int, str]]:
    """Return the VLANs that `bridge vlan` shows of a link, with their flags."""
    found: list[dict[str, Any]] = host.json(f"bridge -j vlan show dev {link}")
    return [(one["vlan"], " ".join(one.get("flags", []))) for port in found for one in port["vlans"]]


def outer(host: Machine, container: str) -> str:
    """Return the name of the host's end of a container's link."""
    links = host.json("ip -j link show type veth")
    return str(
        next(one["ifname"] for one in links if one.get("ifalias", "").split(";")[0].endswith(f"/{container}/lan"))
    )


def test_endpoints_reach_those_of_their_vlan_and_the_trunk_carries_the_tags(host: Machine, bridge_nf: bool) -> None:
    switch(host)
    host.netapply("-", stdin=LAB)
    host.run("ip addr flush dev eth0", netns="router")  # what has no tag goes nowhere there
    tag(host, "router", "eth0", 10, "10.20.0.114/24", "fd00:20::114/64")
    for subnet in ("10.20.0.", "fd00:20::"):
        at = {number: f"{subnet}{number}" for number in (1, 11, 12, 13, 110, 114, 120)}
        reach(host, ("red1", at[12]), ("red1", at[110]), ("blue", at[120]), ("plain", at[1]))
        reach(host, ("switch", at[11]), ("far", at[13]), ("red2", at[114]))
        unreached(host, ("red1", at[13]), ("plain", at[11]), ("red1", at[1]), ("blue", at[110]))
        unreached(host, ("", at[11]), ("switch", at[13]), ("plain", at[110]))


def test_what_bridge_vlan_shows_is_what_the_manifest_says_and_a_second_run_writes_nothing(host: Machine) -> None:
    switch(host)
    before = without_what_stays(host.snapshot())
    host.netapply("-", stdin=LAB)
    assert vlans(host, "lan0") == [(1, "PVID Egress Untagged")]
    assert vlans(host, outer(host, "red1")) == [(10, "PVID Egress Untagged")]
    assert vlans(host, outer(host, "router")) == [(10, ""), (20, ""), (21, ""), (22, "")]
    assert vlans(host, "eth1") == [(1, "PVID Egress Untagged"), (10, ""), (20, ""), (21, ""), (22, "")]
    assert "nothing to do" in host.netapply("-", stdin=LAB).stdout
    host.netapply("destroy", "-", stdin=LAB)
    assert without_what_stays(host.snapshot()) == before


def test_vlans_that_somebody_changes_are_drift_and_an_edit_changes_no_more_than_it_says(host: Machine) -> None:
    switch(host)
    host.netapply("-", stdin=LAB)
    red = outer(host, "red1")
    host.run(f"bridge vlan add dev {red} vid 99")
    host.run(f"bridge vlan del dev {red} vid 10")
    host.run("bridge vlan add dev eth1 vid 10 untagged")
    assert "VLAN 99" in host.netapply("plan", "--detailed-exitcode", "-", stdin=LAB, code=2).stdout
    host.netapply("-", stdin=LAB)
    assert vlans(host, red) == [(10, "PVID Egress Untagged")]
    assert (10, "") in vlans(host, "eth1")
    edited = LAB.replace("{vlan: 20}", "{vlan: 30}").replace("20-22", "20-300")
    with host.flow("red1", "10.20.0.12") as flow:
        host.netapply("-", stdin=edited)
    assert flow.lost == 0
    assert vlans(host, outer(host, "blue")) == [(30, "PVID Egress Untagged")]
    assert [number for number, _ in vlans(host, outer(host, "router"))] == [10, *range(20, 301)]
    assert "nothing to do" in host.netapply("-", stdin=edited).stdout


@pytest.mark.thorough
def test_filtering_is_turned_on_and_off_under_running_containers(host: Machine) -> None:
    switch(host)
    flat = LAB.replace("vlan_filtering: true, ", "").replace(", driver_opts: {vlan: 10}", "")
    flat = flat.replace(", driver_opts: {vlan: 20}", "").replace(', driver_opts: {trunk: [10, "20-22"]}', "")
    for text, reached in ((flat, True), (LAB, False), (flat, True)):
        host.netapply("-", stdin=text)
        assert "nothing to do" in host.netapply("-", stdin=text).stdout
        assert host.ping("red1", "10.20.0.13", within=3.0 if reached else 0.5) is reached
        reach(host, ("red1", "10.20.0.12"), ("plain", "10.20.0.1"))


THEIRS = """
project: guest
networks:
  lan:
    external: true
    driver_opts: {name: br0}
    ipam: {config: [{subnet: 10.30.0.0/24, gateway: 10.30.0.1}]}
containers:
  one: {networks: {lan: {ipv4_address: 10.30.0.11, driver_opts: {vlan: 10}}}}
  two: {networks: {lan: {ipv4_address: 10.30.0.12, driver_opts: {vlan: 10, trunk: 20}}}}
  any: {networks: {lan: {ipv4_address: 10.30.0.13}}}
"""


def test_on_a_bridge_of_somebody_else_ports_are_in_the_vlans_that_they_say_or_in_its_own(host: Machine) -> None:
    host.run("ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 7")
    host.run("ip link set br0 up")
    host.run("ip addr add 10.30.0.1/24 dev br0")
    bridge = vlans(host, "br0")
    host.netapply("-", stdin=THEIRS)
    assert vlans(host, outer(host, "one")) == [(10, "PVID Egress Untagged")]
    assert vlans(host, outer(host, "two")) == [(10, "PVID Egress Untagged"), (20, "")]
    assert vlans(host, outer(host, "any")) == [(7, "PVID Egress Untagged")]
    assert "nothing to do" in host.netapply("-", stdin=THEIRS).stdout
    reach(host, ("one", "10.30.0.12"), ("any", "10.30.0.1"))
    unreached(host, ("one", "10.30.0.1"), ("any", "10.30.0.11"))
    freed = THEIRS.replace("{ipv4_address: 10.30.0.11, driver_opts: {vlan: 10}}", "{ipv4_address: 10.30.0.11}")
    host.netapply("-", stdin=freed)
    assert vlans(host, outer(host, "one")) == [(7, "PVID Egress Untagged")]
    assert "nothing to do" in host.netapply("-", stdin=freed).stdout
    host.netapply("destroy", "-", stdin=freed)
    assert vlans(host, "br0") == bridge


def test_vlans_on_a_bridge_that_does_not_filter_are_refused_before_anything_is_touched(host: Machine) -> None:
    host.run("ip link add br0 type bridge")
    host.run("ip link set br0 up")
    before = host.snapshot()
    refused = host.netapply("-", stdin=THEIRS, code=69)
    assert "the bridge br0 does not filter VLANs" in refused.stderr
    assert host.snapshot() == before
