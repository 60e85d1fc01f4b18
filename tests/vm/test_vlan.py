"""VLAN links that come with the first network on them and go with the last, and those of others, which stay."""

from __future__ import annotations

import pytest

from tests import canaries
from tests.kernel.test_manifests import reach, unreached, without_what_stays
from tests.machine import Machine

pytestmark = pytest.mark.needs_kernel("vlan")

NETWORK = """
  {name}:
    driver: {driver}
    driver_opts: {{parent: uplink.{vid}}}
    ipam:
      config:
        - {{subnet: 10.{vid}.0.0/24, gateway: 10.{vid}.0.1, ip_range: 10.{vid}.0.128/25}}
        - {{subnet: "fd00:{vid}::/64", gateway: "fd00:{vid}::1", ip_range: "fd00:{vid}::1:0/112"}}
"""


def manifest(*networks: tuple[str, str, int], project: str = "shop") -> str:
    """Return a manifest of networks, each with a container of its name; two on one VLAN have one subnet."""
    lines = [f"version: 1\nproject: {project}\nnetworks:"]
    lines += [NETWORK.format(name=name, driver=driver, vid=vid) for name, driver, vid in networks]
    lines += ["containers:", *(f"  {name}1: {{networks: [{name}]}}" for name, _, _ in networks)]
    return "\n".join(lines)


def trunk(host: Machine, *vids: int) -> None:
    """Make the outside, with the host's link uplink to it, where it has these VLANs, and .1 in each."""
    host.outside()
    for vid in vids:
        host.run(f"ip link add link eth0 name eth0.{vid} type vlan id {vid}", netns="outside")
        host.run(f"ip link set eth0.{vid} up", netns="outside")
        host.run(f"ip addr add 10.{vid}.0.1/24 dev eth0.{vid}", netns="outside")
        host.run(f"ip addr add fd00:{vid}::1/64 dev eth0.{vid} nodad", netns="outside")


def vlans(host: Machine) -> list[str]:
    return sorted(link["ifname"] for link in host.json("ip -j link show type vlan"))


@pytest.mark.parametrize(
    "driver", ["macvlan", pytest.param("ipvlan", marks=[pytest.mark.needs_kernel("ipvlan"), pytest.mark.thorough])]
)
def test_networks_on_vlans_speak_by_their_tags(host: Machine, driver: str) -> None:
    trunk(host, 20, 30)
    before = without_what_stays(host.snapshot())
    both = manifest(("red", driver, 20), ("blue", driver, 30))
    with host.flow("", "203.0.113.2") as flow:
        host.netapply("-", stdin=both)
    assert flow.lost == 0
    assert vlans(host) == ["uplink.20", "uplink.30"]
    reach(host, ("red1", "10.20.0.1"), ("red1", "fd00:20::1"), ("blue1", "10.30.0.1"), ("blue1", "fd00:30::1"))
    (red,) = host.addresses("red1")
    host.run("ip route add default via 10.30.0.1", netns="outside")
    unreached(host, ("", red))
    assert "nothing to do" in host.netapply("-", stdin=both).stdout
    host.run("ip link del uplink.20")  # and red's endpoint with it
    host.netapply("-", stdin=both)
    reach(host, ("red1", "10.20.0.1"))
    host.netapply("-", stdin=manifest(("blue", driver, 30)))
    assert vlans(host) == ["uplink.30"]
    host.netapply("destroy", "--project", "shop")
    assert without_what_stays(host.snapshot()) == before


def test_a_vlan_of_others_is_used_and_survives(host: Machine) -> None:
    """And so do others on the same parent, all that `ip` says of them, while a VLAN link of ours comes and goes."""
    trunk(host, 20)
    host.run("ip link add link uplink name uplink.20 type vlan id 20")
    host.run("ip link set uplink.20 up")
    canaries.make("uplink")
    before, around = without_what_stays(host.snapshot()), canaries.state()
    host.netapply("-", stdin=manifest(("red", "macvlan", 20), ("blue", "macvlan", 30)))
    reach(host, ("red1", "10.20.0.1"))
    assert canaries.state() == around
    host.netapply("destroy", "--project", "shop")
    assert without_what_stays(host.snapshot()) == before
    assert canaries.state() == around
    assert {"canary-macvlan", "canary-vxlan", "canary-vlan"} <= around.keys()


def test_the_same_vlan_under_another_name_is_named_before_anything_is_touched(host: Machine) -> None:
    trunk(host, 20)
    host.run("ip link add link uplink name office type vlan id 20")
    before = host.snapshot()
    refused = host.netapply("-", stdin=manifest(("red", "macvlan", 20)), code=65).stderr
    assert "would be the VLAN that the host's link office is already; name office" in refused
    assert host.snapshot() == before


def test_a_vlan_that_bears_links_of_others_stays_until_they_are_gone(host: Machine) -> None:
    trunk(host, 20)
    ours, theirs = manifest(("red", "macvlan", 20)), manifest(("green", "macvlan", 20), project="other")
    host.netapply("-", stdin=ours)
    host.netapply("-", stdin=theirs)
    reach(host, ("red1", "10.20.0.1"), ("green1", "10.20.0.1"))
    gone = host.netapply("destroy", "--project", "shop").stdout
    assert "link uplink.20 stays while macvlan eth0 in netns:green1 stands on it" in gone
    reach(host, ("green1", "10.20.0.1"))
    assert "nothing to do" in host.netapply("-", stdin=theirs).stdout
    host.netapply("destroy", "--project", "other")
    host.netapply("destroy", "--project", "shop")
    assert vlans(host) == []
