"""The host and its containers on one physical network reach each other, and the host stays where it was on that."""

from __future__ import annotations

import pytest

from tests.machine import Machine, Outside

from .test_manifests import reach, unreached, without_what_stays

LAN = """
version: 1
project: shop
networks:
  lan:
    driver: {driver}
    driver_opts: {options}
    ipam:
      config:
        - {{subnet: 203.0.113.0/24, gateway: 203.0.113.2, ip_range: 203.0.113.64/27}}
        - {{subnet: "2001:db8:113::/64", gateway: "2001:db8:113::2", ip_range: "2001:db8:113::1:0/112"}}
containers:
  web: {{networks: {{lan: {{ipv4_address: 203.0.113.65, ipv6_address: "2001:db8:113::65"}}}}}}
  db: {{networks: {{lan: {{ipv4_address: 203.0.113.66, ipv6_address: "2001:db8:113::66"}}}}}}
"""
WEB, WEB6 = "203.0.113.65", "2001:db8:113::65"
HOST, HOST6 = "203.0.113.250", "2001:db8:113::fa"


def lan(access: str = f'[{HOST}, "{HOST6}"]', *, driver: str = "macvlan", **options: str) -> str:
    """Return the manifest of two containers on the network behind the link uplink."""
    settings = ", ".join(f"{name}: {value}" for name, value in options.items())
    return LAN.format(driver=driver, options=f"{{parent: uplink, host_access: {access}, {settings}}}")


def reaches_its_containers(host: Machine, outside: Outside) -> None:
    """Assert that host, containers and the outside reach each other, in both families and in every direction."""
    reach(host, ("", WEB), ("", WEB6), ("", "203.0.113.66"), ("web", HOST), ("web", HOST6), ("db", HOST))
    reach(host, ("web", "203.0.113.66"), ("db", WEB6), ("web", outside.ipv4), ("db", outside.ipv6))
    reach(host, ("", outside.ipv4), ("", outside.ipv6), (outside.name, outside.host_ipv4), (outside.name, WEB6))
    assert host.tcp("", "web", WEB) == HOST
    assert host.tcp("", "web", WEB6) == HOST6
    assert host.udp("web", "", HOST) == WEB
    assert host.tcp("db", "", HOST6) == "2001:db8:113::66"


def is_asked_on_its_own_link_only(host: Machine, outside: Outside) -> None:
    """Assert that the outside learns one MAC for the host's own address: that of the host's physical link."""
    (uplink,) = host.json("ip -j link show uplink")
    for _ in range(3):
        host.run("ip neigh flush all", netns=outside.name)
        reach(host, ("", WEB), ("web", HOST), (outside.name, outside.host_ipv4), (outside.name, outside.host_ipv6))
        found = {one["dst"]: one.get("lladdr") for one in host.json("ip -j neigh", netns=outside.name)}
        assert found[outside.host_ipv4] == found[outside.host_ipv6] == uplink["address"]


def goes_without_a_trace(host: Machine, manifest: str, before: str) -> None:
    """Assert that nothing is done the second time, and that the host gives up its access when the manifest does."""
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout
    host.netapply("-", stdin=without_access(manifest))
    unreached(host, ("", WEB), ("web", HOST))
    host.netapply("destroy", "-", stdin=manifest)
    assert without_what_stays(host.snapshot()) == before


def without_access(manifest: str) -> str:
    start, _, rest = manifest.partition("host_access: [")
    return f"{start}host_access: false{rest.partition(']')[2]}"


@pytest.mark.parametrize("rp_filter", ["0", "1"])
def test_host_and_containers_reach_each_other_and_the_host_stays_on_its_network(host: Machine, rp_filter: str) -> None:
    outside = host.outside()
    host.sysctl("net.ipv4.conf.uplink.rp_filter", rp_filter)
    before = without_what_stays(host.snapshot())
    with host.flow("", outside.ipv4) as flow:
        host.netapply("-", stdin=lan())
    assert flow.lost == 0
    reaches_its_containers(host, outside)
    reach(host, ("web", outside.host_ipv4))  # by its own address, too
    is_asked_on_its_own_link_only(host, outside)
    goes_without_a_trace(host, lan(), before)
