"""What `netapply explain` says, of a host in memory. That it is true is in tests/kernel/test_explain.py."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import cli, engine
from reconciler.explain import Answer, Situation, Unknown, end, explain, situation
from reconciler.host import Filter
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


def known(document: Document = SHOP, apply: bool = True) -> Situation:
    host, wanted = FakeHost(), manifest(document)
    if apply:
        engine.converge(wanted, host)
    return situation(engine.plan(wanted, host))


def asked(start: str, target: str, there: Situation | None = None) -> Answer:
    there = there or known()
    one, other = (end(word, there.topology, there.elsewhere) for word in (start, target))
    return explain(one, other, there)


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
    assert (answer.verdict, answer.ways[0].hops[-1].open) == ("unknown", None)


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
        ("localhost:8080", "host", "", "", 8080),
        ("outside", "outside", "", "", 0),
        ("10.20.0.10:80", "container", "web", "10.20.0.10", 80),
        ("192.0.2.7", "address", "", "192.0.2.7", 0),
        ("[2001:db8::7]:53", "address", "", "2001:db8::7", 53),
        ("2001:db8::7", "address", "", "2001:db8::7", 0),
    ],
)
def test_ends_are_named_in_many_ways(word: str, kind: str, name: str, address: str, port: int) -> None:
    assert end(word, known().topology) == (kind, name, address, port)


@pytest.mark.parametrize(
    ("word", "words"), [("wbe", "did you mean web"), ("web:0", "not a port"), ("web:http", "not a port")]
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest under its usual name, applied to the host that the command acts on."""
    host = FakeHost()
    engine.converge(manifest(SHOP), host)
    monkeypatch.setattr(cli, "host_factory", lambda: host)
    monkeypatch.chdir(tmp_path)
    Path("netapply.yaml").write_text(json.dumps(SHOP))
    return tmp_path


def test_the_command_answers_of_the_manifest_in_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "web", "db"]) == 0
    assert capsys.readouterr().out.startswith("web reaches db\n")
    assert cli.run(["explain", "db", "web", "--detailed-exitcode"]) == 2
    assert cli.run(["explain", "db", "wbe", "-f", "netapply.yaml"]) == 64
    assert "did you mean web?" in capsys.readouterr().err


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


def test_dockers_chain_is_opened_by_applying_a_manifest_that_asks_for_it() -> None:
    docker = Filter("ip", "filter", "FORWARD", "forward", 0, "drop", "-N DOCKER-USER\n", legacy=True)
    assert "coexist: docker" in asked("web", "db", beside(docker, document=SHOP)).ways[0].mend
    there = beside(docker, document={**SHOP, "coexist": "docker"})
    assert asked("web", "db", there).ways[0].mend == "apply the manifest"
