"""What `netapply explain` says of ports is what connections and datagrams meet, whatever listens there, and how."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.explain import Situation, Way, end, explain, situation
from reconciler.host.linux import LinuxHost
from tests.machine import REACHED_WITHIN, Machine
from tests.strategies import Document, manifest

from .calls import answered, connected, server

NewHost = Callable[[], AbstractContextManager[Machine]]

SHOP: Document = {
    "project": "shop",
    "networks": {
        "front": {
            "driver_opts": {"name": "shop-front"},
            "ipam": {"config": [{"subnet": "10.60.0.0/24"}, {"subnet": "fd00:60::/64"}]},
        }
    },
    "containers": {
        "web": {
            "networks": {"front": {"ipv4_address": "10.60.0.10", "ipv6_address": "fd00:60::10"}},
            "ports": ["8000:80", "8000:80/udp"],
        },
        "db": {"networks": {"front": {"ipv4_address": "10.60.0.11", "ipv6_address": "fd00:60::11"}}},
    },
}
LINKS = {"web": "eth0", "db": "eth0", "": "shop-front"}
OWN = {"web": ("10.60.0.10", "fd00:60::10"), "db": ("10.60.0.11", "fd00:60::11"), "": ("10.60.0.1", "fd00:60::1")}
PORTS = (80, 81)
HOW = ("nothing", "0.0.0.0", "::", "only ::", "127.0.0.1", "::1", "own IPv4", "own IPv6", "its link", "lo")

Sockets = Mapping[tuple[str, bool, int], str]
"""How something listens, by container ("" is the host), whether by UDP, and port."""

listening = st.fixed_dictionaries({key: st.sampled_from(HOW) for key in itertools.product(LINKS, (False, True), PORTS)})


def _listen(stack: ExitStack, sockets: Sockets) -> list[socket.socket]:
    """Have it all listen, and return those of UDP."""
    found: list[socket.socket] = []
    for (name, by_udp, port), how in sockets.items():
        own = dict(zip(("own IPv4", "own IPv6"), OWN[name], strict=True))
        address = {"only ::": "::", "its link": "::", "lo": "::", **own}.get(how, how)
        link = {"its link": LINKS[name], "lo": "lo"}.get(how, "")
        if how != "nothing":
            one = server(name, port, address, tcp=not by_udp, v6only=how == "only ::", link=link)
            stack.enter_context(one)
            found += [one] if by_udp else []
    return found


def _known(document: Mapping[str, Any]) -> Situation:
    host, wanted = LinuxHost(), manifest(dict(document))
    known = situation(engine.plan(wanted, host), wanted)
    known = replace(known, sockets=host.listeners(["", *wanted.containers]))
    host.close()
    return known


def _told(known: Situation, places: Mapping[str, str], by_udp: bool) -> dict[tuple[str, str, int], Way]:
    """Return what is said, by who calls, which address and which port."""
    told: dict[tuple[str, str, int], Way] = {}
    for start, target, port in itertools.product(places, ("web", "db", "host", "10.60.0.1"), (*PORTS, 8000)):
        if (start, target) == ("outside", "10.60.0.1"):  # who knows no way to it
            continue
        aim = end(f"{target}:{port}{'/udp' if by_udp else ''}", known.topology)
        ways = explain(end(start, known.topology), aim, known).ways
        told |= {(places[start], way.address, port): way for way in ways}
    return told


@pytest.mark.thorough
@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(sockets=listening)
def test_its_verdicts_are_what_is_met(sockets: Sockets, new_host: NewHost) -> None:
    with new_host() as machine, ExitStack() as stack:
        places = {"host": "", "outside": machine.outside().name, "web": "web", "db": "db"}
        acting = LinuxHost()
        engine.converge(manifest(SHOP), acting)
        acting.close()
        udp, known = _listen(stack, sockets), _known(SHOP)
        for by_udp in (False, True):
            told = _told(known, places, by_udp)
            for (start, _, port), way in told.items():
                of_one_link = sockets.get(("", by_udp, port)) in ("its link", "lo")
                assert way.verdict in ("yes", "no") or (start == "outside" and of_one_link), way
            for verdict, within in (("yes", REACHED_WITHIN), ("no", 0.4)):
                calls = [call for call, way in told.items() if way.verdict == verdict]
                answers = answered(calls, udp, within) if by_udp else connected(calls, within)
                both = zip(calls, answers, strict=True)
                assert [(call, told[call]) for call, answer in both if answer != (verdict == "yes")] == []


def _said(host: Machine, path: Path, start: str, target: str) -> tuple[str, str, str]:
    """Return the verdict, how the first way ends, and what would change that."""
    said = json.loads(host.netapply("explain", start, target, "-f", path, "--format", "json").stdout)
    way = said["ways"][0]
    return way["verdict"], way["hops"][-1]["what"], way["mend"]


def test_what_listens_on_127_0_0_1_only_is_named_and_its_mend_mends_it(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps(SHOP))
    host.netapply(path)
    me = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    with server("db", 5432, "127.0.0.1", tcp=True):
        verdict, what, mend = _said(host, path, "web", "db:5432")
        assert (verdict, what) == ("no", f"{me} listens on port 5432/tcp of 127.0.0.1 only")
        assert mend == "have it listen on 0.0.0.0 or 10.60.0.11"
        assert connected([("web", "10.60.0.11", 5432)], 1) == [False]
    with server("db", 5432, "0.0.0.0", tcp=True):
        assert _said(host, path, "web", "db:5432")[0] == "yes"
        assert connected([("web", "10.60.0.11", 5432)], REACHED_WITHIN) == [True]
        verdict, what, mend = _said(host, path, "web", "db:5433")
        assert (verdict, what) == ("no", "nothing listens on port 5433/tcp")
        assert mend == "start the program that is to listen there, or use a port that one listens on: 5432"
    assert _said(host, path, "web", "db")[0] == "yes", "no port is asked for"


def test_localhost_is_whoever_asks_itself(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps(SHOP))
    host.netapply(path)
    with server("web", 80, tcp=True):
        verdict, what, mend = _said(host, path, "db", "localhost:8000")
        assert (verdict, what) == ("no", "nothing listens on port 8000/tcp")
        assert mend == "the port is one of the host's: ask 10.60.0.1:8000, or web itself"
        assert _said(host, path, "db", "10.60.0.1:8000")[0] == "yes"
        assert _said(host, path, "host", "127.0.0.1:8000")[0] == "yes"
        verdict, what, mend = _said(host, path, "host", "[::1]:8000")
        assert (verdict, mend) == ("no", "ask 127.0.0.1:8000: published ports can't be had by ::1")
        assert _said(host, path, "outside", "localhost:8000")[0] == "unknown"
        calls = [("db", "10.60.0.1", 8000), ("", "127.0.0.1", 8000)]
        assert connected(calls, REACHED_WITHIN) == [True, True]
        assert connected([("db", "127.0.0.1", 8000), ("", "::1", 8000)], 0.4) == [False, False]
        assert _said(host, path, "web", "127.0.0.1:80")[0] == "yes"
        assert connected([("web", "127.0.0.1", 80)], REACHED_WITHIN) == [True]


def test_processes_and_containers_without_a_namespace_of_their_own_are_looked_at_too(
    host: Machine, tmp_path: Path
) -> None:
    path, pid = tmp_path / "shop.yaml", host.process()
    document = {**SHOP, "networks": {**SHOP["networks"], "mine": {"driver": "host"}}}
    agent = {"sandbox": {"pid": pid}, "networks": {"front": {"ipv4_address": "10.60.0.12"}}}
    document["containers"] = {**SHOP["containers"], "agent": agent, "exporter": {"networks": ["mine"]}}
    path.write_text(json.dumps(document))
    host.netapply(path)
    with server(f"/proc/{pid}/ns/net", 80, tcp=True), server("", 9100, tcp=True):
        assert [_said(host, path, "web", target)[0] for target in ("agent:80", "exporter:9100")] == ["yes", "yes"]
        assert connected([("web", "10.60.0.12", 80), ("web", "10.60.0.1", 9100)], REACHED_WITHIN) == [True, True]
    assert [_said(host, path, "web", target)[0] for target in ("agent:80", "exporter:9100")] == ["no", "no"]


def test_questions_for_names_are_led_to_a_resolver_that_listens_elsewhere(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps({**SHOP, "dns": True}))
    host.netapply(path)
    known = _known({**SHOP, "dns": True})
    assert known.topology.names
    (resolver,) = known.topology.names.resolvers
    for port, verdict in ((53, "yes"), (resolver.port, "no")):
        assert [_said(host, path, "web", f"host:{port}{kind}")[0] for kind in ("", "/udp")] == [verdict] * 2
        calls = [("web", address, port) for address in OWN[""]]
        assert connected(calls, REACHED_WITHIN if verdict == "yes" else 0.4) == [verdict == "yes"] * 2
    assert _said(host, path, "host", "host:53")[0] == "no"
    assert connected([("", "127.0.0.1", 53)], 0.4) == [False]


def test_a_namespace_that_is_another_one_by_now_is_not_looked_into(host: Machine) -> None:
    acting = LinuxHost()
    engine.converge(manifest(SHOP), acting)
    engine.plan(manifest(SHOP), acting)
    assert acting.listeners(["", "db"]).keys() == {"", "db"}
    host.run("ip netns del db")
    host.netns("db")
    assert acting.listeners(["", "db", "nobody"]).keys() == {""}
    acting.close()


def _chains(rules: str) -> str:
    chain = "add chain ip theirs pre {{ type nat hook prerouting priority -100; }}; add rule ip theirs pre {}"
    return f"add table ip theirs; {chain.format(rules)}"


def test_a_port_that_others_lead_elsewhere_is_not_said_to_be_closed(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps(SHOP))
    host.netapply(path)
    assert _said(host, path, "web", "host:9000")[0] == "no"
    for make, table in _leading():
        host.run(["sh", "-c", make])
        verdict, what, _ = _said(host, path, "web", "host:9000")
        assert (verdict, what) == (
            "unknown",
            f"has 10.60.0.1, and the firewall table {table} may lead port 9000/tcp elsewhere",
        )
        assert host.tcp("web", "db", "10.60.0.1", 9000, target=80) is not None
        assert _said(host, path, "web", "host:9001")[0] == "no"
        host.run(["sh", "-c", make.replace(" -A ", " -D ") if " -A " in make else "nft delete table ip theirs"])


def _leading() -> Iterator[tuple[str, str]]:
    yield f"nft '{_chains('tcp dport 9000 dnat to 10.60.0.11:80')}'", "ip theirs"
    for kind, table in (("nft", "ip nat"), ("legacy", "legacy ip nat")):
        yield f"iptables-{kind} -t nat -A PREROUTING -p tcp --dport 9000 -j DNAT --to 10.60.0.11:80", table
