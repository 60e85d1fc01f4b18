"""What `netapply explain` says, of a host in memory. That it is true is in tests/kernel/test_explain.py."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import cli, commands, engine
from reconciler.coexistence import mend_discovery
from reconciler.explain import Answer, End, Situation, Unknown, concerned, end, explain, sender, situation
from reconciler.host import Filter, Listener
from reconciler.host.fake import FakeHost
from reconciler.plan import Delete
from reconciler.report import explain as report
from reconciler.resources import Key
from tests.strategies import Document, manifest, new_host

SHOP: Document = {
    "project": "shop",
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}]}, "allow": ["store"]},
        "store": {"ipam": {"config": [{"subnet": "10.21.0.0/24"}]}},
        "back": {"internal": True, "ipam": {"config": [{"subnet": "10.22.0.0/24"}]}},
    },
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.20.0.10"}, "back": {"ipv4_address": "10.22.0.10"}}},
        "db": {"networks": {"store": {"ipv4_address": "10.21.0.20"}}},
        "cache": {"networks": {"back": {"ipv4_address": "10.22.0.30"}}},
        "agent": {"sandbox": {"pid": 99999}, "networks": ["front"]},
    },
}


LISTENING = {
    "web-1": ("tcp", "0.0.0.0", 80),
    "web-2": ("tcp", "0.0.0.0", 80),
    "db": ("tcp", "0.0.0.0", 5432),
    "cache": ("udp", "10.21.0.21", 53),
}


def known(
    document: Document = SHOP, apply: bool = True, inside: Mapping[str, Sequence[Listener]] | None = None
) -> Situation:
    """Return what is known of a host; `inside` is what listens, by container, "" for the host."""
    host, wanted = FakeHost(), manifest(document)
    if apply:
        engine.converge(wanted, host)
    usual: dict[str, Sequence[Listener]] = {
        name: [Listener(*one, "nginx (process 7)")] for name, one in LISTENING.items()
    }
    host.inside = {name: list(some) for name, some in {**usual, **(inside or {})}.items()}
    host.listening = [*(inside or {}).get("", ())]
    there = situation(engine.plan(wanted, host))
    return replace(there, sockets=host.listeners(["", *wanted.containers]))


def asked(start: str, target: str, there: Situation | None = None) -> Answer:
    there = there or known()
    one = sender(start, there.topology, there.elsewhere)
    return explain(one, end(target, there.topology, there.elsewhere), there)


def last(answer: Answer) -> tuple[str, str]:
    """Return where the last hop of the first way is, and what would change it."""
    return answer.ways[0].hops[-1].where, answer.ways[0].mend


def test_neighbours_reach_each_other_by_the_network_that_they_share() -> None:
    answer = asked("cache", "web")
    assert answer.verdict == "yes"
    assert [(way.address, way.verdict) for way in answer.ways] == [("10.22.0.10", "yes"), ("10.20.0.10", "no")]


def test_allow_is_one_way() -> None:
    assert asked("web", "db").verdict == "yes"
    answer = asked("db", "web")
    assert answer.verdict == "no"
    assert last(answer) == ("host", "attach both to one network, or put front into `allow` of network store")


def test_what_is_asked_by_address_is_one_way_only() -> None:
    answer = asked("cache", "10.20.0.10")
    assert [way.address for way in answer.ways] == ["10.20.0.10"]
    assert last(answer) == ("cache", "its networks are internal: attach it to one that is not")


def test_nobody_comes_in_to_a_network_in_mode_nat() -> None:
    assert {way.verdict for way in asked("outside", "db").ways} == {"no"}
    opened = {**SHOP, "networks": {**SHOP["networks"], "store": {**SHOP["networks"]["store"], "driver_opts": {}}}}
    opened["networks"]["store"]["driver_opts"] = {"gateway_mode": "routed"}
    assert asked("outside", "db", known(opened)).verdict == "yes"


def test_a_container_that_does_not_run_reaches_nobody() -> None:
    answer = asked("agent", "web")
    assert answer.verdict == "no"
    assert "does not run" in answer.ways[0].hops[0].what


def test_before_the_manifest_is_applied_that_is_what_is_missing() -> None:
    answer = asked("cache", "web", known(apply=False))
    assert (answer.verdict, answer.ways[0].mend) == ("no", "apply the manifest")


def spanning(mode: str, **options: object) -> Situation:
    """Return what is known on the first of two hosts, on a network that spans both, and on one that does not."""
    subnets = {"app": "10.48.0.0/24", "local": "10.49.0.0/24"}
    document: Document = {
        "project": "shop",
        "hosts": {"one": {"address": "192.0.2.10"}, "two": {"address": "192.0.2.11"}},
        "networks": {name: {"ipam": {"config": [{"subnet": one}]}} for name, one in subnets.items()},
        "containers": {
            "web": {"host": "one", "networks": ["app", "local"]},
            "db": {"host": "two", "networks": ["app"]},
            "far": {"host": "two", "networks": ["local"]},
        },
    }
    document["networks"]["app"] |= {"driver": "overlay", "driver_opts": {"mode": mode, **options}}
    wanted = manifest(document)
    host, here = new_host(), engine.Options(here="one")
    engine.converge(wanted, host, here)
    return situation(engine.plan(wanted, host, here), wanted)


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_a_container_on_another_host_is_known_and_what_it_meets_there_is_not(mode: str) -> None:
    there = spanning(mode)
    (remote,) = there.topology.networks[0].remotes
    (db,) = remote.addresses
    for start, target, address in (("web", "db", db), ("host", "db", db), ("web", "far", ""), ("db", "web", "")):
        answer = asked(start, target, there)
        assert (answer.verdict, answer.ways[0].address) == ("unknown", address)
        assert "is on another host" in answer.ways[0].hops[-1].what


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_where_containers_may_not_talk_they_do_not_across_hosts_either(mode: str) -> None:
    answer = asked("web", "db", spanning(mode, icc=False))
    assert (answer.verdict, answer.ways[0].mend) == ("no", "set driver_opts.icc true")


PUBLISHED: Document = {
    "project": "shop",
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}]}},
        "store": {"ipam": {"config": [{"subnet": "10.21.0.0/24"}]}, "driver_opts": {"icc": False}},
    },
    "containers": {
        "web-1": {"networks": {"front": {"ipv4_address": "10.20.0.11"}}, "ports": ["8080:80"]},
        "web-2": {"networks": {"front": {"ipv4_address": "10.20.0.12"}}},
        "db": {"networks": {"store": {"ipv4_address": "10.21.0.20"}}, "ports": ["5432:5432"]},
        "cache": {"networks": {"store": {"ipv4_address": "10.21.0.21"}}},
    },
    "services": {"web": {"network": "front", "containers": ["web-*"], "vip": "10.20.0.200", "ports": [80]}},
}


def test_a_published_port_leads_to_its_container() -> None:
    there = known(PUBLISHED)
    answer = asked("db", "host:8080", there)
    assert answer.verdict == "yes"
    assert "leads 10.21.0.1 port 8080 to port 80 of 10.20.0.11" in answer.ways[0].hops[1].what
    assert asked("host", "host:8080", there).verdict == "yes"


def test_a_port_that_is_not_published_may_be_the_hosts_own() -> None:
    answer = asked("db", "host:22", known(PUBLISHED))
    assert (answer.verdict, answer.ways[0].hops[-1].what) == ("no", "nothing listens on port 22/tcp")
    publish = "publish it: `ports` of a container, or of a service"
    assert last(answer) == ("host", f"{publish}; or start the program that is to listen there")
    there = known(PUBLISHED, inside={"": [Listener("tcp", "0.0.0.0", 22, "sshd (process 7)")]})
    assert asked("db", "host:22", there).verdict == "yes"
    assert asked("db", "host:22/udp", there).verdict == "no"


def test_what_is_published_by_a_network_without_icc_its_own_containers_do_not_reach() -> None:
    assert last(asked("cache", "host:5432", known(PUBLISHED))) == ("host", "set driver_opts.icc true")


def test_a_service_leads_to_each_of_its_containers() -> None:
    answer = asked("host", "web:80", known(PUBLISHED))
    assert answer.verdict == "yes"
    assert [way.address for way in answer.ways] == ["10.20.0.11", "10.20.0.12"]
    assert "sends what is for 10.20.0.200 to web-1 and web-2 in turn" in answer.ways[0].hops[0].what


def test_who_has_lost_the_table_that_leads_to_a_service_is_told_so() -> None:
    document: Document = {**PUBLISHED, "containers": {**PUBLISHED["containers"], "app": {"networks": ["front"]}}}
    host, wanted = FakeHost(), manifest(document)
    engine.converge(wanted, host)
    lost = engine.plan(wanted, host).observation.state[Key("nft", "app inet netapply-shop")]
    assert [error for _, error in host.apply([Delete(lost)])] == [None]
    there = situation(engine.plan(wanted, host))
    answer = asked("app", "web", there)
    assert (answer.verdict, answer.ways[0].mend) == ("unknown", "apply the manifest")
    assert asked("web-1", "web", there).verdict == "yes"


@pytest.mark.parametrize(
    ("start", "target", "mend"),
    [
        ("db", "web", "attach it to network front, or publish a port of the service"),
        ("outside", "10.20.0.200", "publish a port of the service, and ask for that: host:PORT"),
        ("web-1", "web:81", "put 81 into the service's ports"),
    ],
)
def test_who_does_not_reach_a_service_is_told_why(start: str, target: str, mend: str) -> None:
    answer = asked(start, target, known(PUBLISHED))
    assert (answer.verdict, answer.ways[0].mend) == ("no", mend)


@pytest.mark.parametrize(
    ("word", "kind", "name", "address", "port"),
    [
        ("web", "container", "web", "", 0),
        ("web:80", "container", "web", "", 80),
        ("host", "host", "", "", 0),
        ("localhost:8080", "loopback", "", "127.0.0.1", 8080),
        ("outside", "outside", "", "", 0),
        ("10.20.0.10:80", "container", "web", "10.20.0.10", 80),
        ("192.0.2.7", "address", "", "192.0.2.7", 0),
        ("[2001:db8::7]:53", "address", "", "2001:db8::7", 53),
        ("2001:db8::7", "address", "", "2001:db8::7", 0),
    ],
)
def test_ends_are_named_in_many_ways(word: str, kind: str, name: str, address: str, port: int) -> None:
    assert end(word, known().topology) == End(kind, name, address, port)


def test_a_port_is_of_tcp_unless_it_says_otherwise() -> None:
    there = known().topology
    for word, said in (("web:53/udp", "web:53/udp"), ("web:53/tcp", "web:53"), ("[2001:db8::7]:53/udp", "")):
        assert str(end(word, there)) == (said or word)
    assert end("web:53/udp", there) == End("container", "web", port=53, protocol="udp")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("wbe", "did you mean web"),
        ("web:0", "not a port"),
        ("web:http", "not a port"),
        ("web:53/dns", "not a protocol"),
        ("web:/udp", "not a port"),
    ],
)
def test_who_is_not_known_is_told_with_the_mend(word: str, words: str) -> None:
    with pytest.raises(Unknown, match=words):
        end(word, known().topology)


def test_the_text_names_each_hop_and_what_would_change_it() -> None:
    assert report.text(asked("db", "web")) == (
        "db does not reach web\n"
        "\n"
        "10.20.0.10: no\n"
        "  db    sends from 10.21.0.20 (eth0, network store) to 10.20.0.10 by 10.21.0.1\n"
        "  host  drops it: network store may not open connections to network front\n"
        "  to change that: attach both to one network, or put front into `allow` of network store\n"
        "\n"
        "10.22.0.10: no\n"
        "  db    sends from 10.21.0.20 (eth0, network store) to 10.22.0.10 by 10.21.0.1\n"
        "  host  drops it: network back is internal\n"
        "  to change that: attach both to one network\n"
    )


# --- what listens

LOCAL = Listener("tcp", "127.0.0.1", 8000, "uvicorn (process 7)")


@pytest.mark.parametrize(
    ("sockets", "what", "mend"),
    [
        ([], "nothing listens on port 8000/tcp", "start the program that is to listen there"),
        (
            [LOCAL],
            "uvicorn (process 7) listens on port 8000/tcp of 127.0.0.1 only",
            "have it listen on 0.0.0.0 or 10.21.0.20",
        ),
        (
            [LOCAL._replace(address="::"), LOCAL._replace(address="::1")],
            "uvicorn (process 7) listens on port 8000/tcp of :: and ::1 only",
            "have it listen on 0.0.0.0 or 10.21.0.20",
        ),
        (
            [LOCAL._replace(address="0.0.0.0", link="eth1")],
            "uvicorn (process 7) listens on port 8000/tcp of eth1 only",
            "have it listen on all links",
        ),
        (
            [
                *(LOCAL._replace(address="0.0.0.0", port=port) for port in (9003, 9001, 9002, 9000, 9004, 9005)),
                LOCAL._replace(port=7000),
                LOCAL._replace(protocol="udp"),
            ],
            "nothing listens on port 8000/tcp",
            "start the program that is to listen there, or use a port that one listens on:"
            " 9000, 9001, 9002, 9003 and 2 more",
        ),
    ],
)
def test_where_nothing_takes_it_that_is_said_with_what_does_listen(
    sockets: list[Listener], what: str, mend: str
) -> None:
    (way,) = asked("web", "db:8000", known(inside={"db": sockets})).ways
    assert (way.verdict, way.hops[-1].where, way.hops[-1].what, way.mend) == ("no", "db", what, mend)


@pytest.mark.parametrize("one", [LOCAL._replace(address="0.0.0.0"), LOCAL._replace(address="10.21.0.20", link="eth0")])
def test_who_takes_it_is_named(one: Listener) -> None:
    (way,) = asked("web", "db:8000", known(inside={"db": [LOCAL, one]})).ways
    assert "uvicorn (process 7) listens on port 8000/tcp" in [hop.what for hop in way.hops]
    assert way.verdict == "yes"


def test_of_udp_ports_those_of_who_waits_for_an_answer_are_not_named() -> None:
    sockets = [Listener("udp", "0.0.0.0", port, "dig (process 7)") for port in (53, 45000)]
    assert last(asked("web", "db:54/udp", known(inside={"db": sockets})))[1].endswith("listens on: 53")


def test_where_it_can_not_be_seen_that_is_said() -> None:
    there = replace(known(), sockets={})
    (way,) = asked("web", "db:8000", there).ways
    said = (way.verdict, way.hops[-1].what)
    assert said == ("unknown", "whether a program listens on port 8000/tcp can't be seen")
    assert asked("web", "db", there).verdict == "yes"
    assert asked("web", "db:8000/sctp").verdict == "unknown", "this host tells nothing of it"


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("db", set()),
        ("db:5432", {"db"}),
        ("10.20.0.11:80", {"web-1"}),
        ("web:80", {"web-1", "web-2"}),
        ("host:8080", {"", "web-1"}),
        ("10.20.0.1:8080", {"", "web-1"}),
        ("host:8080/udp", {""}),
        ("outside:80", {""}),
    ],
)
def test_it_is_looked_at_only_where_it_matters(target: str, where: set[str]) -> None:
    there = known(PUBLISHED)
    assert concerned(End("outside"), end(target, there.topology), there) == where


def test_of_a_service_each_must_listen() -> None:
    there = known(PUBLISHED, inside={"web-2": [LOCAL]})
    assert [way.verdict for way in asked("host", "web:80", there).ways] == ["yes", "no"]
    ports = [{"target": 80, "published": 8000}]
    document: Document = {**PUBLISHED, "services": {"web": {**PUBLISHED["services"]["web"], "ports": ports}}}
    (way,) = asked("db", "10.21.0.1:8000", known(document, inside={"web-2": [LOCAL]})).ways
    assert (way.verdict, way.hops[-1].where, way.hops[-1].what) == ("no", "web-2", "nothing listens on port 80/tcp")
    assert asked("db", "10.21.0.1:8000", known(document)).verdict == "yes"


NAMED: Document = {**SHOP, "dns": True}


def test_questions_for_names_are_led_to_the_resolver_of_who_asks() -> None:
    host, wanted = FakeHost(), manifest(NAMED)
    engine.converge(wanted, host)
    there = situation(engine.plan(wanted, host))
    there = replace(there, sockets=host.listeners(["", "web"]))
    for target in ("10.20.0.1:53", "10.20.0.1:53/udp"):
        (way, *_) = asked("web", target, there).ways
        assert (way.verdict, way.hops[-1].what) == ("yes", "leads 10.20.0.1 port 53 to the resolver of who asks")
    assert asked("host", "host:53/udp", there).verdict == "no"
    assert there.topology.names
    (own, *_) = [one.port for one in there.topology.names.resolvers]
    (way, *_) = asked("web", f"host:{own}/udp", there).ways
    assert (way.verdict, way.mend) == ("no", "ask at port 53")


NAT = (
    "table ip nat {{\n\tchain pre {{\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\t{}\n\t}}\n}}\n"
)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("tcp dport 9000 counter packets 0 bytes 0 dnat to 172.17.0.2:80", "unknown"),
        ("ip daddr != 127.0.0.0/8 tcp dport 9000 redirect to :80", "unknown"),
        ("tcp dport 9001 dnat to 172.17.0.2:80", "no"),
        ("udp dport 9000 dnat to 172.17.0.2:80", "no"),
        ('iifname "docker0" tcp dport 9000 dnat to 172.17.0.2:80', "no"),
        ("ip saddr 172.17.0.0/16 masquerade", "no"),
    ],
)
def test_a_port_that_others_lead_elsewhere_is_not_said_to_be_closed(rule: str, verdict: str) -> None:
    there = known()
    led = Filter("ip", "nat", "pre", "nat", -100, "accept", NAT.format(rule))
    (way, *_) = asked("web", "10.20.0.1:9000", replace(there, filters=(led,))).ways
    assert way.verdict == verdict
    if verdict == "unknown":
        said = "has 10.20.0.1, and the firewall table ip nat may lead port 9000/tcp elsewhere"
        assert way.hops[-1].what == said


def test_what_another_project_publishes_is_not_said_to_be_closed() -> None:
    host, ours = FakeHost(), manifest(SHOP)
    theirs = manifest({**PUBLISHED, "project": "other", "networks": {"front": {}}, "services": {}, "containers": {
        "mail": {"networks": ["front"], "ports": ["2525:25"]}}})  # fmt: skip
    engine.converge(theirs, host)
    engine.converge(ours, host)
    table = host.kernel.host.tables["inet", "netapply-other"]
    led = Filter("inet", "netapply-other", "prerouting", "nat", -100, "accept", table)
    there = replace(situation(engine.plan(ours, host), filters=[led]), sockets=host.listeners([""]))
    (way, *_) = asked("web", "10.20.0.1:2525", there).ways
    assert (way.verdict, way.hops[-1].what) == (
        "unknown", "has 10.20.0.1, and project other may lead port 2525/tcp elsewhere")  # fmt: skip
    assert asked("web", "host:2526", there).verdict == "no"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest under its usual name, applied to the host that the command acts on."""
    host = FakeHost()
    engine.converge(manifest(SHOP), host)
    monkeypatch.setattr(commands, "host_factory", lambda: host)
    monkeypatch.chdir(tmp_path)
    Path("netapply.yaml").write_text(json.dumps(SHOP))
    return tmp_path


def test_the_command_answers_of_the_manifest_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "web", "db"]) == 0
    assert capsys.readouterr().out.startswith("web reaches db\n")
    assert cli.run(["explain", "db", "web", "--detailed-exitcode"]) == 2
    assert cli.run(["explain", "db", "wbe", "-f", "netapply.yaml"]) == 64
    assert "did you mean web?" in capsys.readouterr().err


def test_a_service_is_nobody_to_ask_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    services = {"cached": {"network": "back", "containers": ["cache"]}}
    Path("netapply.yaml").write_text(json.dumps({**SHOP, "services": services}))
    assert cli.run(["explain", "cached", "web"]) == 64
    assert "name one of them: cache" in capsys.readouterr().err


def test_json_has_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "db", "web:80", "--format", "json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["from"], said["to"], said["verdict"]) == ("db", "web:80", "no")
    assert [one["hops"][-1]["open"] for one in said["ways"]] == [False, False]


# --- firewalls of others

CLOSED = Filter("ip", "fw", "pass", "forward", 10, "drop")
DROPS = "the firewall chain ip fw pass (priority 10, policy drop) drops what is forwarded for"
OPENED = "nft 'insert rule ip fw pass iifname {{ {0} }} accept; insert rule ip fw pass oifname {{ {0} }} accept'".format


def beside(*filters: Filter, bridged: Collection[int] = (), document: Document = PUBLISHED) -> Situation:
    there = known(document)
    return replace(there, filters=filters, bridged=frozenset(bridged))


def test_a_chain_that_drops_ends_the_way_in_the_words_of_doctor() -> None:
    (way,) = asked("web", "db", beside(CLOSED, document=SHOP)).ways
    assert (way.verdict, way.hops[-1].what) == ("no", f"{DROPS} shop-front, shop-store")
    assert way.mend == OPENED('"shop-front", "shop-store"')
    assert asked("cache", "web", beside(CLOSED, document=SHOP)).verdict == "yes"


def test_what_stays_within_a_network_is_dropped_where_bridged_packets_pass_firewalls() -> None:
    (way, _) = asked("cache", "web", beside(CLOSED, bridged=[4], document=SHOP)).ways
    assert (way.verdict, way.hops[-1].what) == ("no", f"{DROPS} shop-back")
    assert asked("cache", "web", beside(CLOSED, bridged=[6], document=SHOP)).verdict == "yes"


def test_what_depends_on_more_than_is_known_is_not_known() -> None:
    marked = CLOSED._replace(text="table ip fw {\n\tchain pass {\n\t\tmeta mark 1 accept\n\t}\n}\n")
    (way,) = asked("web", "db", beside(marked, document=SHOP)).ways
    assert (way.verdict, way.hops[-1].open) == ("unknown", None)
    assert way.hops[-1].what == f"{DROPS} shop-front, shop-store, or one of its rules lets this pass"


def test_an_answer_that_is_dropped_ends_the_way_too() -> None:
    text = 'table ip fw {\n\tchain pass {\n\t\tiifname "shop-front" accept\n\t}\n}\n'
    (way,) = asked("web", "db", beside(CLOSED._replace(text=text), document=SHOP)).ways
    assert (way.verdict, [hop.where for hop in way.hops].count("db")) == ("no", 2)


def test_a_published_port_is_where_its_chain_lets_pass_what_was_led_elsewhere() -> None:
    for rules, verdict in (("", "no"), ("ct status dnat accept\n\t\tct state established accept", "yes")):
        text = f"table ip fw {{\n\tchain pass {{\n\t\t{rules}\n\t}}\n}}\n"
        assert asked("db", "host:8080", beside(CLOSED._replace(text=text))).verdict == verdict
        assert asked("host", "host:8080", beside(CLOSED._replace(text=text))).verdict == "yes"


def test_what_the_host_itself_is_sent_passes_chains_of_the_hook_input() -> None:
    entered = CLOSED._replace(hook="input")
    (way,) = asked("web", "10.20.0.1", beside(entered, document=SHOP)).ways
    said = "the firewall chain ip fw pass (priority 10, policy drop) drops what the host is sent from shop-front"
    assert (way.verdict, way.hops[-1].what) == ("no", said)
    assert way.mend == "nft 'insert rule ip fw pass iifname { \"shop-front\" } accept'"
    (way,) = asked("host", "web", beside(entered, document=SHOP)).ways[:1]
    assert (way.verdict, way.hops[-1].what) == ("no", said), "the answer"
    mends = [
        asked("web", "10.20.0.1:22", beside(one, document=SHOP)).ways[0].mend
        for one in (
            entered,
            entered._replace(table="firewalld"),
            entered._replace(table="filter", text="-N ufw-user-input\n", legacy=True),
            entered._replace(table="filter", chain="INPUT", legacy=True),
        )
    ]
    assert mends == [
        "nft 'insert rule ip fw pass iifname { \"shop-front\" } tcp dport 22 accept'",
        "firewall-cmd --permanent --zone=trusted --change-interface=shop-front && firewall-cmd --reload",
        "ufw allow in on shop-front to any port 22",
        "iptables-legacy -I INPUT -i shop-front -p tcp --dport 22 -j ACCEPT",
    ]


def test_what_the_host_itself_sends_passes_chains_of_the_hook_output() -> None:
    sent = CLOSED._replace(hook="output")
    said = "the firewall chain ip fw pass (priority 10, policy drop) drops what the host sends by"
    mend = "nft 'insert rule ip fw pass oifname {{ \"{}\" }} accept'".format
    for start, target, link in (
        ("host", "web", "shop-front"),
        ("web", "10.20.0.1", "shop-front"),
        ("host", "host", "lo"),
    ):
        (way, *_) = asked(start, target, beside(sent, document=SHOP)).ways
        assert (way.verdict, way.hops[-1].what, way.mend) == ("no", f"{said} {link}", mend(link))
    assert asked("web", "db", beside(sent, document=SHOP)).verdict == "yes"
    mends = [
        asked("host", "web", beside(one, document=SHOP)).ways[0].mend
        for one in (
            sent._replace(table="firewalld"),
            sent._replace(table="filter", text="-N ufw-user-output\n", legacy=True),
            sent._replace(table="filter", chain="OUTPUT", legacy=True),
        )
    ]
    assert mends == ["", "ufw allow out on shop-front", "iptables-legacy -I OUTPUT -o shop-front -j ACCEPT"]


@pytest.mark.parametrize(
    ("priority", "rule", "target", "verdict"),
    [
        (10, "tcp dport 80 accept", "host:8080", "yes"),
        (10, "tcp dport 8080 accept", "host:8080", "no"),
        (10, "ct status dnat accept", "host:8080", "yes"),
        (10, 'oifname "lo" accept', "host:8080", "yes"),
        (10, 'oifname "shop-front" accept', "host:8080", "no"),
        (10, "ip daddr 10.20.0.0/24 accept", "host:8080", "yes"),
        (-150, "ip daddr 10.20.0.0/24 accept", "host:8080", "unknown"),
        (-150, "ct status dnat accept", "host:8080", "no"),
        (-150, 'oifname "lo" accept', "host:8080", "yes"),
        (10, "ct status dnat accept", "web:80", "yes"),
        (10, 'oifname "shop-front" tcp dport 80 accept', "web:80", "yes"),
        (-150, 'oifname "shop-front" accept', "web:80", "yes"),
        (10, "ct status dnat accept", "web-1:80", "no"),
    ],
)
def test_what_the_host_sends_is_led_elsewhere_between_two_chains(
    priority: int, rule: str, target: str, verdict: str
) -> None:
    text = f"table ip fw {{\n\tchain pass {{\n\t\t{rule}\n\t}}\n}}\n"
    assert (
        asked("host", target, beside(Filter("ip", "fw", "pass", "output", priority, "drop", text))).verdict == verdict
    )


SIX: Document = {
    "project": "shop",
    "networks": {"front": {"ipam": {"config": [{"subnet": "10.20.0.0/24"}, {"subnet": "fd00:20::/64"}]}}},
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.20.0.10", "ipv6_address": "fd00:20::10"}}},
        "api": {"networks": {"front": {"ipv4_address": "10.20.0.11", "ipv6_address": "fd00:20::11"}}},
    },
}


@pytest.mark.parametrize("hook", ["input", "output"])
@pytest.mark.parametrize(
    ("allowed", "verdict"),
    [
        ("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", "yes"),
        ("meta l4proto ipv6-icmp accept", "yes"),
        ("icmpv6 type nd-neighbor-solicit accept", "unknown"),
        ("meta mark 1 accept", "unknown"),
        ("counter", "no"),
    ],
)
def test_who_may_not_find_the_host_by_ipv6_does_not_reach_it(hook: str, allowed: str, verdict: str) -> None:
    text = f"table ip6 fw {{\n\tchain pass {{\n\t\tmeta l4proto tcp accept\n\t\t{allowed}\n\t}}\n}}\n"
    there = beside(Filter("ip6", "fw", "pass", hook, 10, "drop", text), document=SIX)
    there = replace(there, sockets={"": {"tcp": [Listener("tcp", one, 22, "sshd") for one in ("::", "0.0.0.0")]}})
    (way,) = asked("web", "[fd00:20::1]:22", there).ways
    assert way.verdict == verdict
    if verdict == "no":
        assert way.hops[-1].what == (
            "the firewall chain ip6 fw pass (priority 10, policy drop) drops what the host needs to find its IPv6"
            " neighbours by shop-front, and they it"
        )
        discovery = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
        assert way.mend == f"nft 'insert rule ip6 fw pass {discovery} accept'"
    (way,) = asked("web", "[fd00:20::11]", there).ways
    assert way.verdict == "yes", "they find each other by themselves"
    assert asked("web", "10.20.0.1:22", there).verdict == "yes"


@pytest.mark.parametrize(
    ("one", "mend"),
    [
        (
            Filter("ip6", "filter", "INPUT", "input", 0, "drop", "-P INPUT DROP\n", legacy=True),
            "ip6tables-legacy -I INPUT -p ipv6-icmp --icmpv6-type 135 -j ACCEPT"
            " && ip6tables-legacy -I INPUT -p ipv6-icmp --icmpv6-type 136 -j ACCEPT",
        ),
        (Filter("inet", "firewalld", "filter_OUTPUT", "output", 10, "drop"), ""),
    ],
)
def test_what_has_neighbours_find_each_other_is_said_in_the_words_of_who_made_the_chain(one: Filter, mend: str) -> None:
    assert mend_discovery(one) == mend


def test_dockers_chain_is_opened_by_applying_a_manifest_that_asks_for_it() -> None:
    docker = Filter("ip", "filter", "FORWARD", "forward", 0, "drop", "-N DOCKER-USER\n", legacy=True)
    assert "coexist: docker" in asked("web", "db", beside(docker, document=SHOP)).ways[0].mend
    there = beside(docker, document={**SHOP, "coexist": "docker"})
    assert asked("web", "db", there).ways[0].mend == "apply the manifest"
