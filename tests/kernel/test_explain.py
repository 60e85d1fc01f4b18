"""What `netapply explain` says is what a packet meets: its verdicts against pings, over random manifests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.explain import SOMEWHERE, Answer, Way, concerned, end, explain, situation
from reconciler.host import Rule
from reconciler.host.linux import LinuxHost
from tests.machine import REACHED_WITHIN, Machine
from tests.strategies import Document, manifest

from .calls import connected

NETWORKS = ("front", "back", "lab")
CONTAINERS = ("api", "db", "web")
MODES = ("nat", "nat", "routed", "isolated")

NewHost = Callable[[], AbstractContextManager[Machine]]


@st.composite
def _network(draw: st.DrawFn, number: int, name: str) -> Document:
    families = draw(st.sampled_from(((4,), (6,), (4, 6))))
    subnets = {4: f"10.{60 + number}.0.0/24", 6: f"fd00:{60 + number}::/64"}
    return {
        "ipam": {"config": [{"subnet": subnets[family]} for family in families]},
        "enable_ipv4": 4 in families,
        "enable_ipv6": 6 in families,
        "internal": draw(st.integers(0, 4)) == 0,
        "allow": draw(st.lists(st.sampled_from([one for one in NETWORKS if one != name]), unique=True, max_size=2)),
        "no_default_route": draw(st.integers(0, 4)) == 0,
        "driver_opts": {"icc": draw(st.integers(0, 3)) > 0, "gateway_mode": draw(st.sampled_from(MODES))},
    }


@st.composite
def reachable(draw: st.DrawFn) -> Document:
    """A manifest whose networks differ in what decides over reachability."""
    networks = {name: draw(_network(number, name)) for number, name in enumerate(NETWORKS)}
    inner = {name for name, one in networks.items() if one["internal"]}
    for name, one in networks.items():
        one["allow"] = [] if name in inner else [other for other in one["allow"] if other not in inner]
    return {
        "project": "shop",
        "networks": networks,
        "containers": {
            name: {"networks": draw(st.lists(st.sampled_from(NETWORKS), unique=True, min_size=1))}
            for name in CONTAINERS
        },
    }


def _places(machine: Machine) -> Mapping[str, str]:
    """Make an outside that answers for all that is outside, and return where to ping from, by whom a question names."""
    there = machine.outside(routes=("10.60.0.0/14", "fd00::/16"))
    for address in SOMEWHERE.values():
        machine.run(
            ["ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])], netns=there.name
        )
    return {"host": "", "outside": there.name, **{name: name for name in CONTAINERS}}


def _questions(places: Mapping[str, str]) -> list[tuple[str, str]]:
    return [pair for pair in itertools.permutations(places, 2) if set(pair) != {"host", "outside"}]


@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))
@given(document=reachable())
def test_its_verdicts_are_what_pings_meet(document: Document, new_host: NewHost) -> None:
    with new_host() as machine:
        places = _places(machine)
        wanted, host = manifest(document), LinuxHost()
        engine.converge(wanted, host)
        known = situation(engine.plan(wanted, host))
        host.close()
        asked = [
            (start, way)
            for start, target in _questions(places)
            for way in explain(end(start, known.topology), end(target, known.topology), known).ways
            if way.address
        ]
        assert asked
        told = {(start, way.address): way for start, way in asked}
        assert {way.verdict for way in told.values()} <= {"yes", "no"}  # nothing here is beyond this host
        for verdict, within in (("yes", REACHED_WITHIN), ("no", 0.5)):
            pairs = [pair for pair, way in told.items() if way.verdict == verdict]
            answers = machine.pings([(places[start], address) for start, address in pairs], within=within)
            wrong = [told[pair] for pair, answer in zip(pairs, answers, strict=True) if answer != (verdict == "yes")]
            assert wrong == []


@st.composite
def published(draw: st.DrawFn) -> Document:
    """The same with a port of the host's for each container that can have one: 8000 for api, and so on."""
    document = draw(reachable())
    for number, (_, container) in enumerate(sorted(document["containers"].items())):
        networks = [document["networks"][name] for name in container["networks"]]
        if any(not one["internal"] and one["driver_opts"]["gateway_mode"] != "isolated" for one in networks):
            container["ports"] = [f"{8000 + number}:80"]
    return document


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(document=published())
def test_its_verdicts_on_published_ports_are_what_connections_meet(document: Document, new_host: NewHost) -> None:
    with new_host() as machine, ExitStack() as stack:
        places = _places(machine)
        wanted, host = manifest(document), LinuxHost()
        engine.converge(wanted, host)
        for name in CONTAINERS:
            stack.enter_context(machine.socket(name, "::", 80))
        known = situation(engine.plan(wanted, host))
        known = replace(known, sockets=host.listeners(["", *CONTAINERS]))
        host.close()
        told: dict[tuple[str, str, int], Way] = {}
        for number, start in itertools.product(range(len(CONTAINERS)), places):
            port = 8000 + number
            answer = explain(end(start, known.topology), end(f"host:{port}", known.topology), known)
            told |= {(places[start], way.address, port): way for way in answer.ways if way.address}
        assert {way.verdict for way in told.values()} <= {"yes", "no"}
        for verdict, within in (("yes", REACHED_WITHIN), ("no", 0.5)):
            calls = [call for call, way in told.items() if way.verdict == verdict]
            answers = connected(calls, within)
            wrong = [
                (call, told[call]) for call, answer in zip(calls, answers, strict=True) if answer != (verdict == "yes")
            ]
            assert wrong == []


def _asked(host: Machine, document: Mapping[str, Any], start: str, target: str) -> Answer:
    """Ask on a host where the manifest need not be applied."""
    acting = LinuxHost()
    known = situation(engine.plan(manifest(dict(document)), acting))
    acting.close()
    return explain(end(start, known.topology), end(target, known.topology), known)


NAMED: Document = {
    "project": "shop",
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.60.0.0/24"}, {"subnet": "fd00:60::/64"}]}},
        "back": {"ipam": {"config": [{"subnet": "10.61.0.0/24"}]}},
    },
    "containers": {
        "web": {"networks": {"front": {"aliases": ["www"]}}},
        "app": {"networks": ["front", "back"]},
        "db": {"networks": {"back": {"aliases": ["store"]}}},
    },
    "services": {"pay": {"network": "front", "containers": ["web"]}},
}
CONNECTS = "for name; do timeout 5 bash -c ': < /dev/tcp/$0/80' $name 2> /dev/null && echo $name; done; true"


def test_its_verdicts_on_names_are_what_connections_by_name_meet(host: Machine) -> None:
    names = ("www", "www.front", "pay.front", "app.back", "store", "store.back")
    wanted, acting = manifest(NAMED), LinuxHost()
    engine.converge(wanted, acting)
    with host.socket("web", "::", 80), host.socket("db", "0.0.0.0", 80):
        known = situation(engine.plan(wanted, acting))
        told: dict[str, list[str]] = {}
        for start, name in itertools.product(("web", "app", "db"), names):
            one, other = (end(word, known.topology) for word in (start, f"{name}:80"))
            sockets = acting.listeners(concerned(one, other, known))
            verdict = explain(one, other, replace(known, sockets=sockets)).verdict
            told.setdefault(start, []).extend([name] if verdict == "yes" else [])
            assert verdict != "unknown"
        acting.close()
        assert [len(some) for some in told.values()] == [3, 5, 2]
        for start, reached in told.items():
            met = host.run(["ip", "netns", "exec", start, "bash", "-c", CONNECTS, "-", *names]).stdout.split()
            assert (start, met) == (start, reached)


SHOP: Document = {
    "project": "shop",
    "networks": {"front": {"ipam": {"config": [{"subnet": "10.60.0.0/24"}]}}},
    "containers": {"web": {"networks": ["front"]}, "api": {"networks": ["front"]}},
}


def test_it_names_what_is_missing_and_applying_the_manifest_mends_it(host: Machine) -> None:
    host.outside()
    answer = _asked(host, SHOP, "web", "api")
    assert (answer.verdict, answer.ways[0].mend) == ("no", "apply the manifest")
    acting = LinuxHost()
    engine.converge(manifest(SHOP), acting)
    acting.close()
    assert _asked(host, SHOP, "web", "api").verdict == "yes"
    host.run("ip link del eth0", netns="api")
    (way,) = _asked(host, SHOP, "web", "api").ways
    assert (way.verdict, way.hops[-1].where) == ("no", "api")
    assert "link api/front is missing" in way.hops[-1].what


@pytest.mark.parametrize(
    ("breaking", "verdict", "where"),
    [
        ("ip -n web link set eth0 down", "no", "web"),
        ("ip -n web route del default", "no", "web"),
        ("ip addr del 10.60.0.1/24 dev shop-front", "no", "host"),
        ("ip link set shop-front down", "no", "host"),
        ("nft insert rule inet netapply-shop forward drop", "unknown", "host"),
        ("nft delete table inet netapply-shop", "unknown", "host"),
    ],
)
def test_what_somebody_broke_ends_the_way_out(host: Machine, breaking: str, verdict: str, where: str) -> None:
    outside = host.outside()
    document = {**SHOP, "networks": {"front": {**SHOP["networks"]["front"], "driver_opts": {"name": "shop-front"}}}}
    acting = LinuxHost()
    engine.converge(manifest(document), acting)
    acting.close()
    (way,) = _asked(host, document, "web", "outside").ways
    assert (way.verdict, host.ping("web", outside.ipv4)) == ("yes", True)
    host.run(breaking)
    (way,) = _asked(host, document, "web", "outside").ways
    assert (way.verdict, way.hops[-1].where, way.mend) == (verdict, where, "apply the manifest")


def test_an_address_outside_reaches_what_it_does_and_is_answered_where_the_host_has_a_route_back(host: Machine) -> None:
    outside = host.outside(default_route=False, routes=["10.60.0.0/16"])
    far = "198.51.100.77"
    host.run(f"ip address add {far} dev lo", netns=outside.name)
    networks: Document = {"routed": {"driver_opts": {"gateway_mode": "routed"}}, "closed": {}}
    for number, one in enumerate(networks.values()):
        one["ipam"] = {"config": [{"subnet": f"10.60.{number}.0/24"}]}
    containers = {"web": {"networks": ["routed"]}, "db": {"networks": ["closed"]}}
    document = {"project": "shop", "networks": networks, "containers": containers}
    acting = LinuxHost()
    engine.converge(manifest(document), acting)
    acting.close()

    def met(start: str, target: str) -> tuple[str, bool, str]:
        (way,) = _asked(host, document, start, target).ways
        command = f"ping -c1 -W{0.5 if way.verdict == 'no' else REACHED_WITHIN} -I {start} {way.address}"
        return way.verdict, not host.run(command, netns=outside.name, check=False).returncode, way.mend

    assert met(outside.ipv4, "web") == ("yes", True, "")
    assert met(outside.ipv4, "db")[:2] == ("no", False)
    assert met(far, "web") == ("no", False, "give the host a route")
    host.run(f"ip route add {far} via {outside.ipv4}")
    assert met(far, "web") == ("yes", True, "")


@pytest.mark.parametrize(
    ("rule", "route", "verdict"),
    [
        ("from 10.60.0.0/24 lookup 1000", "default via {} table 1000", "unknown"),
        ("from 10.60.0.0/24 lookup 1000", "blackhole default table 1000", "unknown"),
        ("from 10.60.0.0/24 prohibit", "", "unknown"),
        ("not from 10.61.0.0/24 iif shop-front lookup 99", "unreachable 0.0.0.0/0 table 99", "unknown"),
        ("not from all fwmark 0x7 lookup 99", "unreachable default table 99", "unknown"),
        ("from 10.60.0.0/24 lookup 1000", "", "yes"),
        ("from 10.60.0.0/24 lookup 1000", "blackhole 10.99.0.0/16 table 1000", "yes"),
        ("from 10.60.0.0/24 lookup 1000", "throw default table 1000", "yes"),
        ("from 10.61.0.0/24 lookup 1000", "blackhole default table 1000", "yes"),
        ("to 10.61.0.0/24 prohibit", "", "yes"),
        ("iif lo lookup 99", "blackhole default table 99", "yes"),
        ("fwmark 0x7 lookup 99", "blackhole default table 99", "yes"),
        ("from all lookup main suppress_prefixlength 0", "", "yes"),
        ("priority 40000 prohibit", "", "yes"),
        ("priority 90 lookup main", "", "yes"),
    ],
)
def test_a_rule_of_others_that_may_route_it_elsewhere_is_named(
    host: Machine, rule: str, route: str, verdict: str
) -> None:
    outside = host.outside(routes=["10.60.0.0/16"])
    network = {"ipam": {"config": [{"subnet": "10.60.0.0/24"}]}, "driver_opts": {"name": "shop-front"}}
    document = {"project": "shop", "networks": {"front": network}, "containers": {"web": {"networks": ["front"]}}}
    acting = LinuxHost()
    engine.converge(manifest(document), acting)
    host.run(f"ip rule add {rule}")
    if route:
        host.run(f"ip route add {route.format(outside.ipv4)}")
    known = situation(engine.plan(manifest(document), acting), rules=acting.rules())
    acting.close()
    (way,) = explain(end("web", known.topology), end("outside", known.topology), known).ways
    assert way.verdict == verdict
    if verdict == "yes":
        assert host.ping("web", outside.ipv4)
    else:
        assert "may send it elsewhere: its routing rule" in way.hops[-1].what
        assert host.ping("web", outside.ipv4, within=0.3) == route.startswith("default via")


def test_rules_are_read_as_they_were_made(host: Machine) -> None:
    acting = LinuxHost()
    assert acting.rules() == ()
    for family, rule in (
        ("-4", "priority 10 lookup main suppress_prefixlength 0"),
        ("-4", "priority 20 not from 10.1.0.0/16 to 10.2.0.0/16 iif lo ipproto udp lookup 1000"),
        ("-6", "priority 30 to fd00:2::/64 fwmark 0x7 lookup 99"),
        ("-4", "priority 40 lookup main"),
    ):
        host.run(f"ip {family} rule add {rule}")
    for family, route in (("-4", "unreachable 10.2.3.0/24 table 1000"), ("-6", "unreachable default table 99")):
        host.run(f"ip {family} route add {route}")
    told = "20: not from 10.1.0.0/16 to 10.2.0.0/16 iif lo lookup 1000"
    mark = "30: from all to fd00:2::/64 fwmark 0x7 lookup 99"
    assert acting.rules() == (
        Rule(4, 10, "10: from all lookup main", beyond=0),
        Rule(4, 20, told, "10.1.0.0/16", "10.2.0.0/16", "lo", "udp", inverted=True, routes=("10.2.3.0/24",)),
        Rule(6, 30, mark, target="fd00:2::/64", routes=("::/0",), mark=7, mask=0xFFFFFFFF),
        Rule(4, 40, "40: from all lookup main", beyond=-1),
    )
    acting.close()


def test_a_macvlan_container_and_its_host_are_told_apart(host: Machine) -> None:
    host.outside("lan", "eth0", default_route=False)
    network: dict[str, Any] = {"driver": "macvlan", "driver_opts": {"parent": "eth0"}}
    network["ipam"] = {"config": [{"subnet": "203.0.113.0/24", "ip_range": "203.0.113.128/25"}]}
    document = {"project": "shop", "networks": {"lan": network}, "containers": {"tv": {"networks": ["lan"]}}}
    acting = LinuxHost()
    engine.converge(manifest(document), acting)
    acting.close()
    answer = _asked(host, document, "host", "tv")
    way: Way = answer.ways[0]
    assert (way.verdict, way.mend) == ("no", "set driver_opts.host_access")
    assert not host.ping("", way.address, within=0.5)
    network["driver_opts"]["host_access"] = "203.0.113.77"
    acting = LinuxHost()
    engine.converge(manifest(document), acting)
    acting.close()
    (way,) = _asked(host, document, "host", "tv").ways
    assert way.verdict == "yes"
    assert host.ping("", way.address)
