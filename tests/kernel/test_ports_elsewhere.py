"""Ports published by other networks than plain bridges: macvlan with host access, overlays, routed ones, several."""

from __future__ import annotations

import pytest

from tests.cluster import apply, cluster
from tests.machine import Machine

from .test_host_access import HOST, HOST6, LAN
from .test_ports import both, tcp

MULTI = """
version: 1
project: shop
networks:
  front: {{ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}, driver_opts: {{{front}}}}}
  side: {{ipam: {{config: [{{subnet: 10.21.0.0/24}}]}}{side}}}
containers:
  web:
    networks: {{front: {{ipv4_address: 10.20.0.10, gw_priority: {front_priority}}}, side: {{ipv4_address: 10.21.0.10}}}}
    ports: ["8080:80", "8080:80/udp"]
  api: {{networks: [side]}}
"""


def multi(front: str = "", side: str = "", priority: int = 0) -> str:
    return MULTI.format(front=front, side=side, front_priority=priority)


@pytest.mark.parametrize("family", [4, 6])
def test_a_macvlan_container_is_published_by_the_hosts_access(host: Machine, family: int) -> None:
    router = host.outside()  # the containers' own router
    beyond = host.outside("beyond", "downlink", default_route=False)
    manifest = LAN.format(driver="macvlan", options=f'{{parent: uplink, host_access: [{HOST}, "{HOST6}"]}}')
    manifest = manifest.replace("  web: {networks", '  web: {ports: ["8080:80", "8080:80/udp"], networks')
    host.netapply("-", stdin=manifest)
    own, access = (beyond.host_ipv4, HOST) if family == 4 else (beyond.host_ipv6, HOST6)
    assert both(host, "beyond", "web", own) == access, "it answers by another router, so it sees the host's address"
    assert both(host, "", "web", own) == access
    if family == 4:
        assert both(host, "", "web", "127.0.0.1") == access
    assert both(host, "db", "web", access) == access
    assert both(host, router.name, "web", router.host_address(family)) == access
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


def test_a_macvlan_container_is_not_published_without_the_hosts_access(host: Machine) -> None:
    host.outside()
    manifest = LAN.format(driver="macvlan", options="{parent: uplink}")
    manifest = manifest.replace("  web: {networks", '  web: {ports: ["8080:80"], networks')
    said = host.netapply("-", stdin=manifest, code=65).stderr
    assert "the host does not reach network lan (driver macvlan)" in said
    assert "host_access: true" in said


def test_a_routed_network_is_published_as_well(host: Machine, bridge_nf: bool) -> None:
    outside = host.outside(routes=["10.20.0.0/24"])
    host.netapply("-", stdin=multi("gateway_mode: routed"))
    assert both(host, "outside", "web", outside.host_ipv4) == outside.ipv4
    assert tcp(host, "outside", "web", "10.20.0.10", 80) == outside.ipv4
    assert both(host, "", "web", "127.0.0.1") == "10.20.0.1"


def test_of_several_networks_the_one_with_the_default_route_is_taken(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=multi(priority=-1))
    assert both(host, "outside", "web", outside.host_ipv4) == outside.ipv4
    assert both(host, "", "web", "127.0.0.1") == "10.21.0.1"
    host.netapply("-", stdin=multi(priority=1))
    assert both(host, "", "web", "127.0.0.1") == "10.20.0.1"


NEAR = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  side: {ipam: {config: [{subnet: 10.21.0.0/24}, {subnet: "fd00:21::/64"}]}}
containers:
  api: {networks: {side: {ipv4_address: 10.21.0.10, ipv6_address: "fd00:21::10"}}}
"""
PUBLISHED = """\
  web:
    networks: {front: {gw_priority: 1, ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}, side: }
    ports: ["8080:80", "8080:80/udp"]
  web2: {networks: [front], ports: ["8081:80"]}
"""


@pytest.mark.parametrize("family", [4, 6])
def test_a_container_on_both_networks_answers_the_other_one_by_the_host(
    host: Machine, family: int, bridge_nf: bool
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=NEAR + PUBLISHED)
    own, gateway, api = {
        4: (outside.host_ipv4, "10.20.0.1", "10.21.0.10"),
        6: (outside.host_ipv6, "fd00:20::1", "fd00:21::10"),
    }[family]
    assert both(host, "api", "web", own) == gateway
    assert both(host, "web", "web", own) == gateway
    assert tcp(host, "api", "web2", own, 8081) == api, "whose neighbour is on both and who is not sees the source"
    assert both(host, "outside", "web", own) == outside.address(family)
    assert "nothing to do" in host.netapply("-", stdin=NEAR + PUBLISHED).stdout


def test_without_pruning_it_still_does(host: Machine) -> None:
    """Of what stays the manifest names nothing: a container, or one network of a container."""
    outside = host.outside()
    host.netapply("-", stdin=NEAR + PUBLISHED)
    for manifest in (NEAR + PUBLISHED.replace(", side: }", "}"), NEAR):
        host.netapply("--no-prune", "-", stdin=manifest)
        assert both(host, "api", "web", outside.host_ipv4) == "10.20.0.1"
        assert both(host, "api", "web", outside.host_ipv6) == "fd00:20::1"
        assert "nothing to do" in host.netapply("--no-prune", "-", stdin=manifest).stdout
    host.netapply("-", stdin=NEAR)
    assert "near_ipv" not in host.run("nft list ruleset").stdout


def test_containers_in_one_namespace_are_on_each_others_networks(host: Machine) -> None:
    outside = host.outside()
    host.netns("pod")
    ends = {"web": "{front: {gw_priority: 1}}, ports: ['8080:80', '8080:80/udp']", "log": "[side]"}
    pod = "".join(
        f"  {name}: {{sandbox: {{pid: {host.start('sleep 60', netns='pod').pid}}}, networks: {rest}}}\n"
        for name, rest in ends.items()
    )
    host.netapply("-", stdin=NEAR + pod)
    assert both(host, "api", "pod", outside.host_ipv4) == "10.20.0.1"
    assert both(host, "api", "pod", outside.host_ipv6) == "fd00:20::1"


def test_a_client_on_a_link_that_the_container_is_on_as_well_is_answered_by_the_host(host: Machine) -> None:
    """By macvlans; what they are in may overlap, since they are on different links."""
    outside = host.outside()
    host.outside("beyond", "downlink", default_route=False)
    manifest = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  lan:
    driver: macvlan
    driver_opts: {parent: uplink}
    ipam: {config: [{subnet: 203.0.113.0/24, gateway: 203.0.113.2, ip_range: 203.0.113.64/27}]}
  wide:
    driver: macvlan
    driver_opts: {parent: downlink}
    ipam: {config: [{subnet: 203.0.0.0/16}]}
containers:
  web: {networks: {front: {gw_priority: 1}, lan: , wide: }, ports: ["8080:80", "8080:80/udp"]}
"""
    host.netapply("-", stdin=manifest)
    assert both(host, "outside", "web", outside.host_ipv4) == "10.20.0.1"
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


def test_an_internal_one_is_not_taken(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=multi(side=", internal: true"))
    assert both(host, "outside", "web", outside.host_ipv4) == outside.ipv4


def test_a_container_that_answers_by_another_router_sees_the_hosts_address(host: Machine) -> None:
    """Its default route goes by a macvlan network that the host has no part in."""
    outside = host.outside()
    beyond = host.outside("beyond", "downlink", default_route=False)
    manifest = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  lan:
    driver: macvlan
    driver_opts: {parent: uplink}
    ipam: {config: [{subnet: 203.0.113.0/24, gateway: 203.0.113.2, ip_range: 203.0.113.64/27}]}
containers:
  web: {networks: {front: , lan: {gw_priority: 5}}, ports: ["8080:80", "8080:80/udp"]}
"""
    host.netapply("-", stdin=manifest)
    assert both(host, "beyond", "web", beyond.host_ipv4) == "10.20.0.1"
    assert both(host, "outside", "web", outside.host_ipv4) == "10.20.0.1"


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_an_overlay_container_is_published_by_its_own_host(host: Machine, mode: str) -> None:
    hosts = cluster(host)
    addresses = ", ".join(f"{name}: {{address: {one.address_of(4)}}}" for name, one in hosts.items())
    manifest = f"""
version: 1
project: shop
hosts: {{{addresses}}}
networks:
  front: {{driver: overlay, driver_opts: {{mode: {mode}}}, ipam: {{config: [{{subnet: 10.50.0.0/20}}]}}}}
containers:
  web: {{host: one, networks: [front], ports: ["8080:80", "8080:80/udp"]}}
  api: {{host: two, networks: [front]}}
  far: {{host: three, networks: [front], ports: ["8080:80"]}}
"""
    apply(hosts, manifest)
    one, two = hosts["one"], hosts["two"]
    web, api = one.container("web"), two.container("api")
    assert both(host, two.netns, web, one.ipv4) == two.ipv4, "the source is kept from another host"
    assert both(host, api, web, one.ipv4) == two.ipv4, "and it is that host's for its containers"
    assert both(host, two.netns, web, two.ipv4) is None, "another host does not publish it"


def test_what_can_not_be_published_is_said_before_anything_is_touched(host: Machine) -> None:
    before = host.snapshot()
    manifest = """
version: 1
project: shop
networks:
  own: {driver: host}
  shut: {driver_opts: {gateway_mode: isolated}}
  deep: {internal: true}
containers:
  a: {networks: [own], ports: ["80:80"]}
  b: {networks: [shut], ports: ["81:80"]}
  c: {networks: [deep], ports: ["82:80"]}
  d: {ports: ["83:80"]}
"""
    said = host.netapply("-", stdin=manifest, code=65).stderr
    for words in ("is the host's own", "is isolated", "is internal", "is on no network"):
        assert words in said
    assert host.snapshot() == before
