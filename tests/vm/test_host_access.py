"""Access of the host to its ipvlan containers, in each mode, and to macvlans on a VLAN of their own."""

from __future__ import annotations

import pytest

from tests.kernel.test_host_access import HOST, HOST6, WEB, WEB6, goes_without_a_trace, lan, reaches_its_containers
from tests.kernel.test_manifests import reach, without_what_stays
from tests.machine import Machine


@pytest.mark.needs_kernel("ipvlan")
def test_the_host_reaches_ipvlans_on_its_network_and_stays_there(host: Machine) -> None:
    outside = host.outside()
    before = without_what_stays(host.snapshot())
    manifest = lan(driver="ipvlan")
    with host.flow("", outside.ipv4) as flow:
        host.netapply("-", stdin=manifest)
    assert flow.lost == 0
    reaches_its_containers(host, outside)
    goes_without_a_trace(host, manifest, before)


@pytest.mark.needs_kernel("ipvlan")
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_the_host_reaches_routed_ipvlans(host: Machine, mode: str) -> None:
    outside = host.outside(routes=["10.20.0.0/24", "fd00:20::/64"])
    manifest = lan('[10.20.0.250, "fd00:20::fa"]', driver="ipvlan", mode=mode)
    for here, there in (
        (", gateway: 203.0.113.2, ip_range: 203.0.113.64/27", ""),
        (', gateway: "2001:db8:113::2", ip_range: "2001:db8:113::1:0/112"', ""),
        ("203.0.113.0/24", "10.20.0.0/24"),
        ("203.0.113.", "10.20.0."),
        ("2001:db8:113::", "fd00:20::"),
    ):
        manifest = manifest.replace(here, there)
    host.netapply("-", stdin=manifest)
    reach(host, ("", "10.20.0.65"), ("", "fd00:20::66"), ("web", "10.20.0.250"), ("db", "fd00:20::fa"))
    reach(host, ("web", outside.ipv4), ("db", outside.ipv6), ("outside", "10.20.0.65"), ("outside", "fd00:20::66"))
    assert host.tcp("", "web", "10.20.0.65") == "10.20.0.250"
    assert host.tcp("web", "", "fd00:20::fa") == "fd00:20::65"
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


@pytest.mark.needs_kernel("vlan")
def test_the_host_reaches_macvlans_on_a_vlan_that_it_has_no_other_part_in(host: Machine) -> None:
    host.outside()
    manifest = lan().replace("parent: uplink", "parent: uplink.20")
    host.netapply("-", stdin=manifest)
    reach(host, ("", WEB), ("", WEB6), ("web", HOST), ("web", HOST6), ("", "203.0.113.2"))
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout
