"""Services on networks whose hosts have each their own part: which addresses they get, and how hosts get there."""

from __future__ import annotations

import io
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from reconciler import engine
from reconciler.errors import ManifestError
from reconciler.lowering.ports import ROUTE_LOCALNET
from reconciler.manifest import load
from reconciler.networks import Network, Topology
from reconciler.pin import pin
from reconciler.resources import Link, NftTable, Route

from .test_overlay import host_at

SHOP = """
project: shop
hosts: {one: {address: 192.0.2.10}, two: {address: 192.0.2.12}, three: {address: 192.0.2.13}}
networks:
  front:
    driver: overlay
    driver_opts: {mode: l3}
    ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}
containers:
  web: {host: one, networks: [front]}
  api-1: {host: two, networks: [front]}
  api-2: {host: three, networks: [front]}
services:
  api: {network: front, containers: ["api-*"]}
"""
ADDRESSES = {"one": "192.0.2.10", "two": "192.0.2.12", "three": "192.0.2.13"}
SERVICE = '  api: {network: front, containers: ["api-*"]}\n'
WITHOUT = SHOP.partition("services:")[0]


def proposal(here: str = "one", text: str = SHOP) -> engine.Proposal:
    return engine.plan(load(["-"], {}, io.StringIO(text)), host_at(ADDRESSES[here]), engine.Options(here=here))


def topology(here: str = "one", text: str = SHOP) -> Topology:
    return proposal(here, text).topology


def front(here: str = "one", text: str = SHOP) -> Network:
    (network,) = topology(here, text).networks
    return network


def parts(network: Network) -> list[str]:
    """Return the hosts' parts of the subnets."""
    assert network.node
    return [one.cidr for node in (network.node, *network.nodes) for one in node.subnets]


def complaint(text: str, here: str = "one") -> str:
    with pytest.raises(ManifestError) as error:
        topology(here, text)
    (problem,) = error.value.problems
    return f"{problem.position.line}: {problem.what}; {problem.mend}"


def pinned(*vips: str) -> str:
    listed = ", ".join(f'"{one}"' for one in vips)
    return SHOP.replace('"api-*"]', f'"api-*"], vip: [{listed}]')


def test_virtual_ips_are_in_no_hosts_part_and_the_same_on_all_hosts() -> None:
    (service,) = topology().services
    assert [":" in vip for vip in service.vips] == [False, True]
    for here in ADDRESSES:
        assert topology(here).services[0].vips == service.vips
        assert not any(ip_address(vip) in ip_network(part) for vip in service.vips for part in parts(front(here)))


def test_backends_are_the_same_on_all_hosts_in_the_same_order() -> None:
    seen = {tuple(one._replace(here=True) for one in topology(here).services[0].backends) for here in ADDRESSES}
    assert len(seen) == 1
    assert [len(one.addresses) for one in seen.pop()] == [2, 2]


def test_a_host_reaches_the_part_of_virtual_ips_by_the_link_by_which_it_has_its_own_address() -> None:
    (service,) = topology().services
    ways = [one for one in proposal().desired.values() if isinstance(one, Route) and one.link == "front#vtep"]
    ways = [one for one in ways if one.via is None]
    assert [(any(ip_address(vip) in ip_network(one.destination) for one in ways)) for vip in service.vips] == [True] * 2
    assert not any(isinstance(one, Route) and one.via is None for one in host_routes(WITHOUT))


def host_routes(text: str) -> Sequence[Route]:
    return [one for one in proposal(text=text).desired.values() if isinstance(one, Route) and one.sandbox == ""]


def test_services_move_neither_parts_nor_containers() -> None:
    for here in ADDRESSES:
        with_one, without = front(here), front(here, WITHOUT)
        assert (parts(with_one), with_one.endpoints) == (parts(without), without.endpoints)


def test_where_hosts_have_all_parts_a_virtual_ip_has_to_be_pinned() -> None:
    text = SHOP.replace("mode: l3}", "mode: l3, host_prefix_ipv4: 26}").replace(
        "three: {", "four: {address: 192.0.2.14}, three: {"
    )
    assert complaint(text) == (
        "8: subnet 10.50.0.0/24 of network front has a share for 4 hosts, and none for virtual IPs; "
        "give it a wider one or a longer host_prefix_ipv4, or pin `vip` of api"
    )
    fixed = text.replace('"api-*"]', '"api-*"], vip: 10.50.0.70')
    assert topology(text=fixed).services[0].vips[0] == "10.50.0.70"


@pytest.mark.parametrize(
    ("offset", "what"),
    [
        (0, "is the first or the last address of"),
        (1, "is the gateway of network front"),
        (15, "is the first or the last"),
    ],
)
def test_a_pinned_virtual_ip_may_be_in_a_hosts_part_and_nobody_elses_address_there(offset: int, what: str) -> None:
    start = ip_network(parts(front())[2]).network_address
    assert what in complaint(pinned(str(start + offset)))
    assert topology(text=pinned(str(start + 5))).services[0].vips[0] == str(start + 5)


def test_no_container_gets_a_virtual_ip_that_is_pinned_in_its_hosts_part() -> None:
    part = parts(front("two"))[0]
    vip = str(ip_network(part).network_address + 7)
    more = "".join(f"  c{number}: {{host: two, networks: [front]}}\n" for number in range(11))
    text = pinned(vip).replace("services:\n", f"{more}services:\n")
    ends = front("two", text).endpoints
    assert len(ends) == 12
    assert vip not in {one.partition("/")[0] for end in ends for one in end.addresses}
    crowded = text.replace("services:\n", "  c: {host: two, networks: [front]}\nservices:\n")
    assert "network front has no IPv4 address left for container" in complaint(crowded, "one")


def test_a_container_pins_an_address_in_its_hosts_part_and_every_host_says_so() -> None:
    other = ip_network(parts(front("one"))[0]).network_address + 5
    text = SHOP.replace(
        "api-1: {host: two, networks: [front]}", f"api-1: {{host: two, networks: {{front: {{ipv4_address: {other}}}}}}}"
    )
    for here in ADDRESSES:
        assert f"{other} is in no part of network front that host two has (10.50.0." in complaint(text, here)


def test_pinned_virtual_ips_are_where_they_were() -> None:
    one = load(["-"], {}, io.StringIO(SHOP))
    before = topology()
    (text,) = pin(one, before).values()
    assert topology(text=text).services == before.services
    assert front(text=text).virtual == front().virtual


PORTS = SHOP.replace('"api-*"]', '"api-*"], ports: ["8080:80"]')


def test_what_is_served_on_other_hosts_alone_is_published_by_the_link_to_them() -> None:
    state = proposal(text=PORTS).desired
    assert {one.path: one.sysctls for one in state.values() if isinstance(one, Link) and one.sysctls} == {
        "front#vtep": {ROUTE_LOCALNET: "1"}
    }
    assert all(to.masquerade for one in topology(text=PORTS).publications for to in one.targets)
    assert not any(to.masquerade for one in topology("two", PORTS).publications for to in one.targets)


def test_where_packets_go_as_they_are_who_comes_to_a_port_gets_an_address_that_is_let_in() -> None:
    direct = "mode: l3, direct_routing: true}"

    def table(text: str) -> str:
        return next(
            one.text for one in proposal(text=text).desired.values() if isinstance(one, NftTable) and not one.sandbox
        )

    assert "straight" not in table(PORTS)
    assert "straight" not in table(SHOP.replace("mode: l3}", direct))
    text = table(PORTS.replace("mode: l3}", direct))
    network = front(text=PORTS)
    for node in network.nodes:
        assert f"{node.subnets[0].cidr} : {network.subnets[0].gateway}" in text
    assert "ip daddr map @straight_ipv4" in text
    assert "straight_ipv6" not in text  # hosts know each other by IPv4: the other family goes in VXLAN
