"""What `netapply explain` says beside firewalls of others is what connections and pings meet, over random rules."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from reconciler import engine
from reconciler.explain import SOMEWHERE, Situation, Way, end, explain, hooks, situation
from reconciler.host.coexistence import bridged
from reconciler.host.linux import LinuxHost
from tests.machine import REACHED_WITHIN, Machine
from tests.strategies import Document, manifest

from .calls import answered, connected, server

NewHost = Callable[[], AbstractContextManager[Machine]]

SHOP: Document = {
    "project": "shop",
    "networks": {
        "front": {"ipam": {"config": [{"subnet": "10.60.0.0/24"}, {"subnet": "fd00:60::/64"}]}, "allow": ["store"]},
        "store": {"ipam": {"config": [{"subnet": "10.61.0.0/24"}]}},
        "open": {
            "driver_opts": {"gateway_mode": "routed"},
            "ipam": {"config": [{"subnet": "10.62.0.0/24"}, {"subnet": "fd00:62::/64"}]},
        },
        "back": {"internal": True, "ipam": {"config": [{"subnet": "10.63.0.0/24"}]}},
    },
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.60.0.10"}, "back": {}}, "ports": ["8000:80", "53:53/udp"]},
        "db": {"networks": {"front": {}}},
        "cache": {"networks": {"store": {"ipv4_address": "10.61.0.10"}, "back": {}}},
        "api": {"networks": {"open": {"ipv4_address": "10.62.0.10", "ipv6_address": "fd00:62::10"}}},
    },
}
NAMES = ("web", "db", "cache", "api")

NFT = (
    *('iifname "shop-front"', 'oifname "shop-front"', 'iifname != "shop-open"', 'iifname "shop-*"', "iifname @some"),
    *('oifname { "shop-store", "shop-open" }', 'iifname "uplink"', 'oifname "uplink"', 'iif "lo"'),
    *("ct state established,related", "ct state { new, untracked }", "ct state != established", "ct status dnat"),
    *("ip saddr 10.60.0.0/24", "ip daddr { 10.61.0.10, 10.62.0.10 }", "ip6 saddr fd00:60::/64", "meta nfproto ipv6"),
    *("tcp dport 80", "tcp dport { 22, 79-81 }", "tcp dport != 80", "meta l4proto udp", "icmp type echo-request"),
    *("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }", "icmpv6 type nd-neighbor-solicit", "ip6 hoplimit 255"),
    *(
        "meta l4proto ipv6-icmp",
        "meta mark 1",
        "iifgroup 7233904",
        "ip saddr . ip daddr { 10.60.0.10 . 10.61.0.10 }",
        "fib daddr type local",
    ),
)
"""Conditions of nftables, some of which nobody can judge who has not the packet."""

IPTABLES = (
    *("-i shop-front", "-o shop-front", "! -i shop-open", "-i shop-+", "-i uplink", "! -o uplink"),
    *("-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW", "-m conntrack --ctstate DNAT"),
    *("-s 10.60.0.0/24", "! -d 10.61.0.10", "-p tcp --dport 80", "-p tcp -m tcp ! --dport 80", "-p udp"),
    *("-m mark --mark 1", "-m addrtype --dst-type LOCAL"),
)
ENDS = ("accept", "accept", "drop", "reject", "return", "jump more", "goto more")


def _about(condition: str) -> str:
    """What a condition looks at: two that look at the same can't be in one rule."""
    word = condition.removeprefix("! ").split()[0]
    return word.strip("-")[0] if word.startswith(("iif", "oif", "-i", "-o", "ct")) else "the rest"


@st.composite
def rules(draw: st.DrawFn, conditions: Sequence[str], ends: Sequence[str]) -> list[tuple[list[str], str]]:
    """Up to five rules, each of up to two conditions."""
    some = st.lists(st.sampled_from(conditions), max_size=2, unique_by=_about)
    return draw(st.lists(st.tuples(some, st.sampled_from(ends)), min_size=1, max_size=5))


HOOKED = ("forward", "forward", "input", "output", "output")


@st.composite
def by_nft(draw: st.DrawFn) -> list[str]:
    """Commands that make a firewall by nft."""
    hook, policy = draw(st.sampled_from(HOOKED)), draw(st.sampled_from(("accept", "drop")))
    # what the host sends is led to another address between the two
    priority = draw(st.sampled_from((5, -150))) if hook == "output" else 5
    family = draw(st.sampled_from(("inet", "inet", "ip", "ip6")))
    lines = [f"add table {family} fw", f"add chain {family} fw more"]
    lines.append(f"add chain {family} fw pass {{ type filter hook {hook} priority {priority}; policy {policy}; }}")
    lines.append(f"add set {family} fw some {{ type ifname; elements = {{ shop-front, other0 }}; }}")
    if draw(st.booleans()):
        lines.append(f"add rule {family} fw pass ct state vmap {{ established : accept, invalid : drop }}")
    for chain, ends in (("pass", ENDS), ("more", ENDS[:5])):
        for when, verdict in draw(rules(NFT, ends)):
            usable = [one for one in when if family == "inet" or not _is_of_other_family(one, family)]
            lines.append(f"add rule {family} fw {chain} {' '.join(usable)} counter {verdict}")
    return [f"nft {shlex.quote('; '.join(lines))}"]


def _is_of_other_family(condition: str, family: str) -> bool:
    others = ("ip6 ", "icmpv6 ", "meta l4proto ipv6") if family == "ip" else ("ip ", "icmp ")
    return condition.startswith(("meta nfproto", *others))


@st.composite
def by_iptables(draw: st.DrawFn) -> list[str]:
    """Commands that make a firewall by iptables, the one of nftables or that of old."""
    program = f"iptables-{draw(st.sampled_from(('nft', 'legacy')))}"
    hook = draw(st.sampled_from(HOOKED)).upper()
    commands = [f"{program} -P {hook} {draw(st.sampled_from(('ACCEPT', 'DROP')))}", f"{program} -N more"]
    able = [
        one for one in IPTABLES if not (hook == "OUTPUT" and "-i " in one) and not (hook == "INPUT" and "-o " in one)
    ]
    for chain, ends in ((hook, ENDS), ("more", ENDS[:5])):
        for when, verdict in draw(rules(able, ends)):
            does, _, to = verdict.partition(" ")
            option = f"-{does[0]} {to}" if to else f"-j {does.upper()}"
            commands.append(f"{program} -A {chain} {' '.join(when)} {option}")
    return commands


MARKS = ("meta mark set 7", "meta mark set 7", "meta mark set 8", "accept", "return", "jump more")
BLACK = "route add blackhole default table 99"


@st.composite
def by_marks(draw: st.DrawFn) -> list[str]:
    """Commands that have packets dropped that are marked with 7, and mark some before they are routed."""
    kind, hook = draw(st.sampled_from((("filter", "prerouting"), ("route", "output"))))
    family = draw(st.sampled_from(("inet", "ip")))
    lines = [f"add table {family} fw", f"add chain {family} fw more"]
    lines.append(f"add chain {family} fw pass {{ type {kind} hook {hook} priority -150; }}")
    lines.append(f"add set {family} fw some {{ type ifname; elements = {{ shop-front, other0 }}; }}")
    for chain, ends in (("pass", MARKS), ("more", MARKS[:5])):
        for when, does in draw(rules(NFT, ends)):
            usable = [one for one in when if family == "inet" or not _is_of_other_family(one, family)]
            lines.append(f"add rule {family} fw {chain} {' '.join(usable)} {does}")
    routing = [f"ip {six} {what}" for six in ("-4", "-6") for what in ("rule add fwmark 7 lookup 99", BLACK)]
    return [*routing, f"nft {shlex.quote('; '.join(lines))}"]


def _known(document: Mapping[str, Any] = SHOP) -> Situation:
    host = LinuxHost()
    wanted, theirs = manifest(dict(document)), host.rules()
    known = situation(engine.plan(wanted, host), wanted, host.filters(hooks(theirs)), bridged(), theirs)
    known = replace(known, sockets=host.listeners(["", *wanted.containers]))
    host.close()
    return known


Calls = dict[tuple[str, str, int], Way]


def _told(known: Situation, places: Mapping[str, str]) -> tuple[Calls, Calls]:
    """Ask all that can be asked: who calls, which address, which port (0: none), and what is said of it; and of UDP."""
    told: tuple[Calls, Calls] = {}, {}
    questions = [pair for pair in itertools.product(places, [*NAMES, "outside"]) if len(set(pair)) > 1]
    for start, target, port, protocol in (
        *((*pair, *port) for pair in questions for port in ((0, ""), (80, ""), (81, ""), (53, "/udp"), (54, "/udp"))),
        *((start, "host", *port) for start in places for port in ((8000, ""), (22, ""), (53, "/udp"), (67, "/udp"))),
        *((start, "host", 0, "") for start in (*NAMES, "outside")),
    ):
        aim = f"{target}:{port}{protocol}" if port else target
        answer = explain(end(start, known.topology), end(aim, known.topology), known)
        # what the outside has at other ports is not looked at
        if (start, target, port) not in (*((one, "outside", port) for one in places for port in (81, 54)),):
            told[bool(protocol)].update({(places[start], way.address, port): way for way in answer.ways if way.address})
    return told


def _verify(machine: Machine, commands: Sequence[str], bridge_nf: bool) -> set[str]:
    """Make the firewall, and hold what is said against connections; returns which verdicts there were."""
    machine.bridge_nf(bridge_nf)
    there = machine.outside(routes=("10.62.0.0/24", "fd00:62::/64"))
    for address in SOMEWHERE.values():
        machine.run(
            ["ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])], netns=there.name
        )
    acting = LinuxHost()
    engine.converge(manifest(SHOP), acting)
    acting.close()
    for command in commands:
        machine.run(["sh", "-c", command])
    places = {"host": "", "outside": there.name, **{name: name for name in NAMES}}
    with ExitStack() as stack:
        for name in (*NAMES, there.name):
            stack.enter_context(machine.socket(name, "::", 80))
        stack.enter_context(machine.socket("", "::", 22))
        udp = [stack.enter_context(server(name, 53)) for name in (*NAMES, there.name)]
        udp.append(stack.enter_context(server("", 67)))
        by_tcp, by_udp = _told(_known(), places)
        for verdict, within in (("yes", REACHED_WITHIN), ("no", 0.4)):
            calls = [call for call, way in by_tcp.items() if way.verdict == verdict and call[2]]
            pings = [call for call, way in by_tcp.items() if way.verdict == verdict and not call[2]]
            datagrams = [call for call, way in by_udp.items() if way.verdict == verdict]
            answers = [*connected(calls, within), *machine.pings([call[:2] for call in pings], within=within)]
            told = [*((call, by_tcp[call]) for call in (*calls, *pings)), *((call, by_udp[call]) for call in datagrams)]
            both = zip(told, [*answers, *answered(datagrams, udp, within)], strict=True)
            wrong = [one for one, answer in both if answer != (verdict == "yes")]
            assert wrong == [], machine.run("nft list ruleset").stdout.partition("table inet netapply")[0]
    return {way.verdict for way in (*by_tcp.values(), *by_udp.values())}


@pytest.mark.thorough
@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(commands=st.one_of(by_nft(), by_iptables()), bridge_nf=st.booleans())
def test_its_verdicts_are_what_connections_meet(commands: list[str], bridge_nf: bool, new_host: NewHost) -> None:
    with new_host() as machine:
        _verify(machine, commands, bridge_nf)


@pytest.mark.thorough
@settings(max_examples=8, phases=(Phase.explicit, Phase.generate))
@given(commands=by_marks(), bridge_nf=st.booleans())
def test_so_they_are_where_packets_are_marked_for_another_table(
    commands: list[str], bridge_nf: bool, new_host: NewHost
) -> None:
    with new_host() as machine:
        _verify(machine, commands, bridge_nf)


THEIRS = {
    "by hand": "nft 'add table inet fw; add chain inet fw pass { type filter hook forward priority 10; policy drop; }'",
    "iptables": "iptables-nft -P FORWARD DROP",
    "legacy": "iptables-legacy -P FORWARD DROP",
}


@pytest.mark.parametrize("command", THEIRS.values(), ids=THEIRS.keys())
def test_it_says_what_doctor_says_and_the_mend_opens_the_way(host: Machine, tmp_path: Path, command: str) -> None:
    outside, path = host.outside(), tmp_path / "shop.yaml"
    path.write_text(json.dumps({"project": "shop", "networks": {"front": FRONT}, **ONE}))
    host.netapply(path)
    host.bridge_nf(False)
    assert _said(host, path, "web", "outside")["verdict"] == "yes"
    host.run(["sh", "-c", command])
    (finding,) = [one for one in _findings(host, path) if one["subject"] == "firewall"]
    said = _said(host, path, "web", "outside")
    way = said["ways"][0]
    assert (said["verdict"], way["hops"][-1]["what"], way["mend"]) == ("no", finding["what"], finding["mend"])
    assert host.tcp("web", outside.name, outside.ipv4) is None
    assert _said(host, path, "web", "db")["verdict"] == "yes"
    assert host.tcp("web", "db", "10.60.0.11") is not None
    host.run(["sh", "-c", way["mend"]])
    assert host.tcp("web", outside.name, outside.ipv4) is not None
    assert _said(host, path, "web", "outside")["ways"][0]["verdict"] == "yes"


def test_within_an_internal_network_too_where_bridged_packets_pass_firewalls(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(json.dumps({"project": "shop", "networks": {"front": {"internal": True, **FRONT}}, **ONE}))
    host.netapply(path)
    host.run("iptables-nft -P FORWARD DROP")
    host.bridge_nf(True)
    (finding,) = [one for one in _findings(host, path) if one["severity"] == "warning" and one["subject"] == "bridges"]
    assert "IPv4 between containers on shop-front passes the firewall chain ip filter FORWARD" in finding["what"]
    assert _said(host, path, "web", "db")["verdict"] == "no"
    assert host.tcp("web", "db", "10.60.0.11") is None
    host.run(finding["mend"])
    assert _said(host, path, "web", "db")["verdict"] == "yes"
    assert host.tcp("web", "db", "10.60.0.11") is not None


FRONT: Document = {"ipam": {"config": [{"subnet": "10.60.0.0/24"}]}}
ONE: Document = {
    "containers": {
        "web": {"networks": {"front": {"ipv4_address": "10.60.0.10"}}},
        "db": {"networks": {"front": {"ipv4_address": "10.60.0.11"}}},
    }
}
"""Two containers on front, whatever else there is."""


def _said(host: Machine, path: Path, start: str, target: str) -> dict[str, Any]:
    return dict(json.loads(host.netapply("explain", start, target, "-f", path, "--format", "json").stdout))


def _findings(host: Machine, path: Path) -> list[dict[str, Any]]:
    return list(json.loads(host.netapply("doctor", "--format", "json", path).stdout)["findings"])
