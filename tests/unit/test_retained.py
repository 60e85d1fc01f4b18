"""What stays with --no-prune."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from reconciler import engine
from reconciler.firewall import Zone, table
from reconciler.resources import IFB, Address, Link, Netns, Peer, Resource, Route, state
from reconciler.retained import clashes, retained, retained_zones
from tests.strategies import Document, Foreign, manifest, new_host, pairs

ZONES = (
    Zone("front", "shop-front", ("10.0.0.0/24", "fd00::/64"), allow=("back",)),
    Zone("back", "shop-back", ("10.1.0.0/24",), mode_ipv4="routed", icc=False),
    Zone("in", "shop-in", ("10.2.0.0/24", "fd00:2::/64"), internal=True),
    Zone("plain", "shop-plain", ("10.3.0.0/24",), masquerade=False),
    Zone("fixed", "shop-fixed", ("10.4.0.0/24", "fd00:4::/64"), snat_ipv4="192.0.2.7", trusted=("wg0", "eth9")),
    Zone("lan", "shop-lan", ("10.5.0.0/24",), icc=False, gateway_mac="02:00:00:00:00:05"),
    Zone("wide", "shop-wide", ("10.6.0.0/24",), across=("vxwide",), direct=("10.6.1.0/24",), allow=("back",)),
)


def bridge(zone: Zone) -> list[Resource]:
    addresses = [subnet.replace("0/", "1/").replace("::/", "::1/") for subnet in zone.subnets]
    link = Link(path=zone.network, kind="bridge", sandbox="", name=zone.interface)
    result: list[Resource] = [link, *(Address(zone.network, address) for address in addresses)]
    for name in zone.across:
        path = f"{zone.network}#vtep"
        result += [Link(path, "vxlan", "", name), Address(path, addresses[0].replace("/24", "/32"))]
    return result


def test_the_firewall_of_what_stays_is_the_one_that_it_had() -> None:
    before = table("shop", ZONES)
    assert before is not None
    observed = state([before, *(resource for zone in ZONES for resource in bridge(zone))])
    assert table("shop", list(retained_zones("shop", retained({}, observed), observed))) == before


def test_only_networks_that_are_not_desired_give_a_zone() -> None:
    before = table("shop", ZONES)
    assert before is not None
    observed = state([before, *(resource for zone in ZONES for resource in bridge(zone))])
    desired = state([resource for zone in ZONES[1:] for resource in bridge(zone)])
    zones = list(retained_zones("shop", retained(desired, observed), observed))
    assert [zone.network for zone in zones] == ["front"]
    assert zones[0].allow == ("back",)


def test_without_a_table_nothing_is_read_back() -> None:
    observed = state(bridge(ZONES[0]))
    assert list(retained_zones("shop", observed, observed)) == []


def test_an_old_address_of_a_link_that_is_desired_does_not_stay() -> None:
    link = Link(path="web/front", kind="veth", sandbox="", name="ve1")
    other = replace(link, path="db/front", name="ve2")
    observed = state(
        [
            Netns("web", "netns:web"),
            link,
            Address("web/front", "10.0.0.2/24"),
            other,
            Address("db/front", "10.0.0.3/24"),
            Route("db", "0.0.0.0/0", "10.0.0.1", "db/front"),
            Link(path="?ve3", kind="veth", sandbox="", name="ve3"),
        ]
    )
    kept = retained(state([link, Address("web/front", "10.0.0.9/24")]), observed)
    assert {str(key) for key in kept} == {
        "netns web",
        "link db/front",
        "address db/front 10.0.0.3/24",
        "route db 0.0.0.0/0 metric 0",
    }


def test_what_stays_may_not_be_where_a_desired_thing_goes() -> None:
    def end(path: str, name: str) -> Link:
        container, _, network = path.partition("/")
        return Link(path, "veth", "", f"ve-{container}-{network}", peer=Peer(container, name))

    kept = state([end("web/back", "eth1"), Address("web/back", "10.1.0.2/24"), *bridge(ZONES[1])])
    free = state([end("web/front", "eth0"), Address("web/front", "10.1.0.2/24"), Address("front", "10.9.0.1/24")])
    assert list(clashes(free, kept)) == []
    taken: list[Resource] = [
        end("web/front", "eth1"),
        Address("db/back", "10.1.0.2/24"),
        Address("front", "10.1.0.129/25"),
    ]
    assert list(clashes(state(list(taken)), kept)) == [
        "address 10.1.0.2 on network back is wanted by db/back 10.1.0.2/24, and --no-prune leaves web/back 10.1.0.2/24",
        "interface eth1 in web is wanted by web/front, and --no-prune leaves web/back",
        "subnet 10.1.0.128/25 of network front overlaps with 10.1.0.0/24 of back, which --no-prune leaves",
    ]


@settings(max_examples=settings().max_examples // 2)
@given(pairs())
def test_whatever_leaves_the_manifest_stays_and_a_second_run_has_nothing_to_do(pair: tuple[Document, Document]) -> None:
    host, keeping = new_host(), engine.Options(force=True, prune=False)
    Foreign(processes=True).make(host)
    before, after = map(manifest, pair)
    engine.converge(before, host, keeping)
    there = engine.plan(before, host, keeping).observation.state
    if engine.plan(after, host, keeping).refusals:  # what stays is in the way
        return
    engine.converge(after, host, keeping)
    again = engine.plan(after, host, keeping)
    assert not again.plan
    stays = [key for key in there if key.kind == "link" and not key.name.endswith(IFB)]
    assert [key for key in stays if key not in again.observation.state] == []
