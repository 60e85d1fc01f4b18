"""Names of containers on other hosts, and of services."""

from __future__ import annotations

import pytest

from tests.cluster import apply, cluster
from tests.dns import Answer, ask
from tests.machine import Machine

SPAN = """
version: 1
project: shop
dns: true
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}}
networks:
  span:
    driver: overlay
    driver_opts: {mode: MODE}
    ipam: {config: [{subnet: 10.40.0.0/16}, {subnet: "fd00:40::/48"}]}
containers:
  web: {host: one, networks: {span: {aliases: [www]}}}
  db: {host: two, networks: {span: {aliases: [store]}}}
"""

SERVICES = """
version: 1
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  api-1: {networks: {front: {ipv4_address: 10.20.0.11}}}
  api-2: {networks: {front: {ipv4_address: 10.20.0.12}}}
  web: {networks: [front]}
  db: {networks: [back]}
services:
  api: {network: front, containers: ["api-*"], vip: 10.20.0.99}
  all: {network: front, containers: ["api-*"], endpoint_mode: dnsrr}
"""


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_containers_on_other_hosts_are_found_from_either_side(host: Machine, mode: str) -> None:
    hosts, text = cluster(host, ("one", "two")), SPAN.replace("MODE", mode)
    apply(hosts, text)
    for on, container, other, names in (("one", "web", "two", ("db", "store")), ("two", "db", "one", ("web", "www"))):
        server = (
            hosts[on].run(["cat", f"/etc/netns/{container}/resolv.conf"]).stdout.partition("nameserver ")[2].split()
        )
        namespace = hosts[on].container(container)
        for name in names:
            for family, kind in ((4, "A"), (6, "AAAA")):
                address = hosts[other].address({"store": "db", "www": "web"}.get(name, name), family)
                assert ask(namespace, server[0], name, kind).values == (address,)
                assert ask(namespace, server[0], f"{name}.span", kind).values == (address,)
    for one in hosts.values():
        one.netapply("destroy", "-", stdin=text)
        assert one.run(["sh", "-c", "ls -d /run/netapply/dns-*"], check=False).stdout == ""


def test_services_have_names_on_their_network(host: Machine) -> None:
    host.netapply("-", stdin=SERVICES)
    assert "nothing to do" in host.netapply("-", stdin=SERVICES).stdout
    assert ask("web", "10.20.0.1", "api").values == ("10.20.0.99",)
    assert ask("web", "10.20.0.1", "api.front").values == ("10.20.0.99",)
    assert sorted(ask("web", "10.20.0.1", "all").values) == ["10.20.0.11", "10.20.0.12"]
    assert ask("db", "10.21.0.1", "api") == Answer("NXDOMAIN")
