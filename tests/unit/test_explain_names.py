"""What `netapply explain` says of who is meant: by names that resolvers answer, as who sends, by an address outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from reconciler import engine
from reconciler.explain import Situation, Unknown, concerned, end, sender, situation
from reconciler.host import Filter, Listener, Rule, Unwritten
from reconciler.plan import Delete
from reconciler.report import explain as report
from reconciler.resources import Key
from tests.strategies import Document, manifest, new_host

from .test_explain import asked, known

NAMED: Document = {
    "project": "shop",
    "dns": True,
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}]}},
        "back": {"ipam": {"config": [{"subnet": "10.21.0.0/24"}]}},
        "open": {"ipam": {"config": [{"subnet": "10.22.0.0/24"}]}, "driver_opts": {"gateway_mode": "routed"}},
    },
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.20.0.10", "aliases": ["www", "shop.example"]}}},
        "web-2": {"networks": {"front": {"ipv4_address": "10.20.0.11", "aliases": ["www"]}}},
        "app": {"networks": {"front": {"ipv4_address": "10.20.0.20"}, "back": {"ipv4_address": "10.21.0.20"}}},
        "db": {"networks": {"back": {"ipv4_address": "10.21.0.30", "aliases": ["store"]}}},
        "own": {"networks": ["front"], "dns": False},
        "api": {"networks": {"open": {"ipv4_address": "10.22.0.10"}}},
        "job": {"sandbox": {"pid": 99999}, "networks": {"front": {"aliases": ["batch"]}}},
    },
    "services": {
        "pay": {"network": "front", "containers": ["web", "web-2"], "vip": "10.20.0.200", "ports": [80]},
        "rr": {"network": "front", "containers": ["web", "web-2"], "endpoint_mode": "dnsrr"},
    },
}
EVERYWHERE = [Listener("tcp", "0.0.0.0", 80, "nginx (process 7)")]


@pytest.fixture(scope="module")
def there() -> Situation:
    return known(NAMED, inside=dict.fromkeys(("web", "web-2", "db"), EVERYWHERE))


def test_an_alias_is_who_has_it_on_a_network_of_who_asks(there: Situation) -> None:
    assert report.text(asked("app", "store:80", there)) == (
        "app reaches store:80\n"
        "\n"
        "10.21.0.30: yes\n"
        "  app  finds that store is 10.21.0.30 by network back's names\n"
        "  app  sends from 10.21.0.20 (eth1, network back) to 10.21.0.30\n"
        "  db   has 10.21.0.30 (eth0, network back)\n"
        "  db   nginx (process 7) listens on port 80/tcp\n"
        "  db   answers 10.21.0.20 by eth0 (network back)\n"
    )
    assert asked("app", "STORE.back", there).verdict == "yes"


def test_a_name_with_its_network_is_the_address_there_alone(there: Situation) -> None:
    assert [way.address for way in asked("db", "app.back", there).ways] == ["10.21.0.20"]
    assert [way.address for way in asked("app", "app.front", there).ways] == ["10.20.0.20"]


def test_of_several_with_one_name_each_must_be_reached(there: Situation) -> None:
    answer = asked("app", "www:80", there)
    assert (answer.verdict, [way.address for way in answer.ways]) == ("yes", ["10.20.0.10", "10.20.0.11"])
    one = replace(there, sockets={**there.sockets, "web-2": {"tcp": []}})
    answer = asked("app", "www:80", one)
    assert (answer.verdict, [way.verdict for way in answer.ways]) == ("no", ["yes", "no"])


def test_of_several_addresses_of_one_with_a_name_one_is_enough() -> None:
    config = [{"subnet": "10.20.0.0/24"}, {"subnet": "fd00:20::/64"}]
    networks = {"front": {"ipam": {"config": config}}}
    containers = {"web": {"networks": {"front": {"aliases": ["www"]}}}, "app": {"networks": ["front"]}}
    document: Document = {"project": "shop", "networks": networks, "containers": containers}
    answer = asked("app", "www:80", known(document, inside={"web": EVERYWHERE}))
    assert (answer.verdict, [way.verdict for way in answer.ways]) == ("yes", ["yes", "no"])


def test_the_name_of_a_service_with_its_network_leads_to_each_of_its_containers(there: Situation) -> None:
    answer = asked("app", "pay.front:80", there)
    assert (answer.verdict, [way.address for way in answer.ways]) == ("yes", ["10.20.0.10", "10.20.0.11"])
    assert [hop.what for hop in answer.ways[1].hops[:2]] == [
        "finds that pay.front is 10.20.0.200 by network front's names",
        "sends what is for 10.20.0.200 to web and web-2 in turn",
    ]
    assert asked("app", "pay.front:81", there).ways[0].mend == "put 81 into the service's ports"
    answer = asked("app", "rr.front:80", there)
    assert (answer.verdict, [way.address for way in answer.ways]) == ("yes", ["10.20.0.10", "10.20.0.11"])


@pytest.mark.parametrize(
    ("start", "target", "verdict", "what", "mend"),
    [
        (
            "web",
            "store",
            "no",
            "does not find store: that is a name of network back, which it is not on",
            "attach it to that network, or ask for db",
        ),
        (
            "web",
            "app.back",
            "no",
            "does not find app.back: that is a name of network back, which it is not on",
            "attach it to that network, or ask for app",
        ),
        (
            "db",
            "shop.example",
            "unknown",
            "asks its own servers what shop.example is: that is a name of network front, which it is not on",
            "attach it to that network, or ask for web",
        ),
        (
            "host",
            "www",
            "no",
            "does not find www: that is a name of network front, which only its containers ask for",
            "ask for web or web-2",
        ),
        (
            "outside",
            "pay.front",
            "no",
            "does not find pay.front: that is a name of network front, which only its containers ask for",
            "ask for pay",
        ),
        (
            "own",
            "www",
            "unknown",
            "has no resolver of netapply's: whether it finds www, a name of network front, is not known",
            "have it on that network, without `dns: false`, or ask for web or web-2",
        ),
    ],
)
def test_who_is_not_told_a_name_hears_whose_it_is(
    start: str, target: str, verdict: str, what: str, mend: str, there: Situation
) -> None:
    (way,) = asked(start, target, there).ways
    assert (way.verdict, way.hops[-1].where, way.hops[-1].what, way.mend) == (verdict, start, what, mend)


def test_who_asks_nobody_for_the_rest_does_not_find_names_with_dots_of_other_networks() -> None:
    networks = {**NAMED["networks"], "back": {**NAMED["networks"]["back"], "internal": True}}
    assert asked("db", "shop.example", known({**NAMED, "networks": networks})).verdict == "no"


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("pay", "service pay opens no connections, its containers do; name one of them: web and web-2"),
        ("10.20.0.200", "service pay opens no connections, its containers do; name one of them: web and web-2"),
        ("www", "www is a name to reach containers by; name the one that asks: web or web-2"),
    ],
)
def test_who_never_sends_is_refused_with_who_does(word: str, words: str, there: Situation) -> None:
    with pytest.raises(Unknown) as refused:
        sender(word, there.topology)
    assert str(refused.value) == words


def test_a_service_of_which_nobody_runs_has_nobody_to_ask_from() -> None:
    services = {"pay": {"network": "front", "containers": ["job"]}}
    with pytest.raises(Unknown, match=r"its containers do; none of them runs$"):
        sender("pay", known({**NAMED, "services": services}).topology)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("ww", "did you mean www?"),
        ("web.back", "there is no web.back: web is not on network back"),
        ("job.front", "job.front is no name while job does not run: "),
    ],
)
def test_what_is_nobodys_name_is_told_with_the_mend(word: str, words: str, there: Situation) -> None:
    with pytest.raises(Unknown, match=words):
        end(word, there.topology)


def test_names_that_are_off_are_told_so() -> None:
    containers = {"web": {"networks": ["front"]}}
    document: Document = {"project": "shop", "networks": {"front": {}}, "containers": containers}
    with pytest.raises(Unknown, match="write `dns: true`, or ask for web"):
        end("web.front", known(document).topology)


@pytest.mark.parametrize(
    ("start", "target", "where"),
    [
        ("app", "www:80", {"web", "web-2"}),
        ("app", "pay.front:80", {"web", "web-2"}),
        ("app", "store:80", {"db"}),
        ("web", "store:80", set()),
        ("app", "www", set()),
    ],
)
def test_what_listens_is_looked_at_where_the_name_leads(
    start: str, target: str, where: set[str], there: Situation
) -> None:
    assert concerned(end(start, there.topology), end(target, there.topology), there) == where


RESOLVER, NAMES, TOLD = Key("resolver", "back, front"), Key("names", "back"), Key("resolvconf", "app")


@pytest.mark.parametrize(
    ("lost", "hops"),
    [
        (RESOLVER, ["asks 10.20.0.1 what store is", f"{RESOLVER} is missing"]),
        (NAMES, [f"does not find store: {NAMES} is missing"]),
        (TOLD, [f"does not find store: {TOLD} is missing"]),
    ],
)
def test_what_a_name_needs_and_is_not_there_ends_the_way(lost: Key, hops: Sequence[str]) -> None:
    host, wanted = new_host(), manifest(NAMED)
    engine.converge(wanted, host)
    assert asked("app", "store", situation(engine.plan(wanted, host))).verdict == "yes"
    resource = engine.plan(wanted, host).observation.state[lost]
    assert [error for _, error in host.apply([Delete(resource)])] == [None]
    (way,) = asked("app", "store", situation(engine.plan(wanted, host))).ways
    said = [hop.what for hop in way.hops]
    assert (way.verdict, way.mend, said[0], said[-1]) == ("no", "apply the manifest", hops[0], hops[-1])
    assert asked("app", "10.21.0.30", situation(engine.plan(wanted, host))).verdict == "yes", "by address"


def test_a_name_that_the_manifest_has_and_resolvers_do_not_yet_may_not_be_found() -> None:
    host, before = new_host(), manifest(NAMED)
    engine.converge(before, host)
    containers = {**NAMED["containers"], "db": {"networks": {"back": {"aliases": ["store", "vault"]}}}}
    there = situation(engine.plan(manifest({**NAMED, "containers": containers}), host))
    (way,) = asked("app", "vault", there).ways
    said = f"may not find what vault is: {NAMES} is not as the manifest says"
    assert (way.verdict, way.hops[-1].what, way.mend) == ("unknown", said, "apply the manifest")
    assert asked("app", "store", there).verdict == "yes", "it is what it was"


def test_a_firewall_of_others_may_keep_who_asks_from_its_resolver(there: Situation) -> None:
    closed = Filter("ip", "fw", "pass", "input", 10, "drop")
    (way,) = asked("app", "store", replace(there, filters=(closed,))).ways
    assert (way.verdict, way.hops[0].what) == ("no", "asks 10.20.0.1 what store is")
    assert "the firewall chain ip fw pass (priority 10, policy drop) drops" in way.hops[-1].what
    assert asked("app", "10.21.0.30", replace(there, filters=(closed,))).verdict == "yes"


@pytest.mark.parametrize(("why", "verdict"), [("docker", "unknown"), ("podman", "no"), ("theirs", "no")])
def test_who_is_told_of_no_resolver_may_not_find_names(
    why: Literal["docker", "podman", "theirs"], verdict: str, there: Situation
) -> None:
    unwritten = {"app": Unwritten(why, ("192.0.2.1",))}
    untold = replace(there, facts=replace(there.facts, unwritten=unwritten))
    (way,) = asked("app", "store", untold).ways
    assert way.verdict == verdict
    assert "names are found from app" in way.hops[-1].what


ALONE: Document = {
    "project": "shop",
    "networks": {"lan": {"driver_opts": {"inhibit_gateway": True}, "ipam": {"config": [{"subnet": "10.23.0.0/24"}]}}},
    "containers": {"cam": {"networks": ["lan"]}, "nvr": {"networks": {"lan": {"aliases": ["disk"]}}}},
}


def test_where_the_host_has_no_address_the_containers_own_resolver_is_asked() -> None:
    host, wanted = new_host(), manifest(ALONE)
    engine.converge(wanted, host)
    assert asked("cam", "disk", situation(engine.plan(wanted, host))).verdict == "yes"
    resolver = engine.plan(wanted, host).observation.state[Key("resolver", "in cam")]
    assert [error for _, error in host.apply([Delete(resolver)])] == [None]
    there = situation(engine.plan(wanted, host))
    (way,) = asked("cam", "disk", there).ways
    assert (way.verdict, way.hops[0].what) == ("no", "asks 127.0.0.11 what disk is")
    resolved = replace(there, facts=replace(there.facts, resolved={"cam": "Docker's own resolver is in there"}))
    (way,) = asked("cam", "disk", resolved).ways
    said = "does not find disk: Docker's own resolver is in there, which does not know a name of network lan"
    assert (way.verdict, way.hops[-1].what) == ("no", said)


# --- addresses that send


@pytest.fixture(scope="module")
def routed() -> Situation:
    """A host with a default route, and nothing that is not as it should be."""
    host, wanted = new_host(), manifest(NAMED)
    engine.converge(wanted, host)
    return situation(engine.plan(wanted, host))


@pytest.mark.parametrize(
    ("start", "target", "verdict"),
    [
        ("203.0.113.9", "api", "yes"),
        ("203.0.113.9", "web", "no"),
        ("203.0.113.9", "192.0.2.10", "yes"),
        ("192.0.2.10", "web", "yes"),
        ("127.0.0.2", "web", "yes"),
        ("10.20.0.1", "web", "yes"),
        ("10.20.0.99", "web", "unknown"),
        ("10.20.0.10", "db", "no"),
    ],
)
def test_an_address_is_the_hosts_a_containers_or_outside(
    start: str, target: str, verdict: str, routed: Situation
) -> None:
    answer = asked(start, target, routed)
    assert (answer.verdict, str(answer.start)) == (verdict, "web" if start == "10.20.0.10" else start)


def test_an_answer_goes_to_the_address_that_asked_and_needs_a_route(routed: Situation) -> None:
    (way,) = asked("203.0.113.9", "api", routed).ways
    assert [hop.what for hop in way.hops if "answers" in hop.what] == ["answers 203.0.113.9 by eth0 (network open)"]
    links = {name: replace(one, routes=()) for name, one in routed.facts.links.items()}
    (way,) = asked("203.0.113.9", "api", replace(routed, facts=replace(routed.facts, links=links))).ways
    said = ("no", "has no route back to 203.0.113.9", "give the host a route")
    assert (way.verdict, way.hops[-1].what, way.mend) == said


def test_an_address_is_asked_of_by_addresses_of_its_family_only(routed: Situation) -> None:
    (way,) = asked("2001:db8::7", "api", routed).ways
    assert (way.verdict, way.mend) == ("no", "ask from an IPv4 address")
    assert way.hops[-1].what == "has no IPv6 address to be reached at from 2001:db8::7"


@pytest.mark.parametrize(("start", "verdict"), [("203.0.113.9", "yes"), ("203.0.113.10", "no")])
def test_chains_of_others_see_the_address_that_asks(start: str, verdict: str, routed: Situation) -> None:
    text = "table ip fw {\n\tchain pass {\n\t\tct state established accept\n\t\tip saddr 203.0.113.9 accept\n\t}\n}\n"
    there = replace(routed, filters=(Filter("ip", "fw", "pass", "forward", 10, "drop", text),))
    assert asked(start, "api", there).verdict == verdict


# --- policy routing of others

ALL = Rule(4, 5270, "5270: from all lookup 52", routes=("0.0.0.0/0",))
MAIN = Rule(4, 5000, "5000: from all lookup main", beyond=0)


@pytest.mark.parametrize(
    ("start", "target", "rules", "verdict"),
    [
        ("web", "outside", [ALL], "unknown"),
        ("web", "outside", [MAIN, ALL], "unknown"),
        ("web", "outside", [MAIN._replace(beyond=-1), ALL], "yes"),
        ("host", "web", [ALL], "unknown"),
        ("host", "web", [MAIN, ALL], "yes"),
        ("host", "web", [ALL._replace(source="10.20.0.0/24")], "unknown"),
        ("host", "web", [ALL._replace(source="10.99.0.0/24")], "yes"),
        ("host", "web", [ALL._replace(link="lo", target="10.20.0.0/16")], "unknown"),
        ("host", "web", [ALL._replace(link="eth0")], "yes"),
        ("host", "host", [ALL], "yes"),
        ("web", "web-2", [ALL], "yes"),
        ("web", "192.0.2.10", [ALL], "unknown"),
        ("203.0.113.9", "api", [ALL._replace(target="203.0.113.0/24")], "unknown"),
        ("203.0.113.8", "api", [ALL._replace(target="203.0.113.9/32")], "yes"),
        ("web", "outside", [ALL._replace(special=True)], "yes"),
        ("web", "outside", [ALL._replace(special=True, inverted=True)], "unknown"),
        ("web", "outside", [ALL._replace(family=6, routes=("::/0",))], "yes"),
        ("web", "outside", [ALL._replace(routes=("100.64.0.0/10",))], "yes"),
        ("web", "outside:80", [ALL._replace(protocol="udp")], "yes"),
        ("web", "outside:53/udp", [ALL._replace(protocol="udp")], "unknown"),
    ],
)
def test_rules_of_others_may_route_elsewhere_what_they_are_for(
    start: str, target: str, rules: Sequence[Rule], verdict: str, routed: Situation
) -> None:
    answer = asked(start, target, replace(routed, rules=tuple(rules)))
    assert answer.verdict == verdict
    if verdict == "unknown":
        said = "may send it elsewhere: its routing rule 5270: from all lookup 52 goes ahead of the main table"
        assert said in [way.hops[-1].what for way in answer.ways]
