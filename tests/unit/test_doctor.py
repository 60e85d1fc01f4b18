"""What doctor says of hosts, given as values; what the hosts are like is found out in tests/kernel/test_doctor.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.doctor import ERROR, NOTE, OK, WARNING, Examination, Finding, Intention, findings, worst
from reconciler.host import SHAPING, Facts, Filter, HostLink
from reconciler.plan import Create, Plan
from reconciler.report import doctor as report
from reconciler.report import json
from reconciler.report.terminal import View
from reconciler.resources import Address, Link, NftTable, Shaper, state
from tests.golden import compare

GOLDEN = Path(__file__).parent / "golden" / "doctor"

ETH0 = HostLink("eth0", "", 1500, True, addresses=("192.0.2.10/24",), routes=("0.0.0.0/0",))
FRONT = HostLink("shop-front", "bridge", 1500, True, owner="shop", addresses=("10.20.0.1/24", "fe80::1/64"))
TABLE = 'table inet netapply-shop {\n ipv4 . "shop-front" : goto into_nat }'
SETTINGS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
    "net.netfilter.nf_conntrack_count": "10",
    "net.netfilter.nf_conntrack_max": "1000",
}
WELL = Examination(
    {"Linux": "6.12.1", "nft": "1.0.6"},
    settings=SETTINGS,
    tables=[TABLE],
    facts=Facts(links={"eth0": ETH0, "shop-front": FRONT}, default_link="eth0", nameservers=("192.0.2.53",)),
    programs=["dnsmasq"],
)


def links(*more: HostLink, **changed: Any) -> Facts:
    every = {one.name: one for one in (ETH0, FRONT, *more)}
    return replace(WELL.facts, links=every, **changed)


def settings(**changed: str) -> Mapping[str, str]:
    return {**SETTINGS, **{name.replace("__", "."): value for name, value in changed.items()}}


def bad(seen: Examination, meant: Intention | None = None) -> list[Finding]:
    return [one for one in findings(seen, meant) if one.severity != OK]


def test_a_host_that_is_well_is_said_to_be() -> None:
    assert bad(WELL) == []
    assert report.text(findings(WELL), View()).endswith("doctor: all is well\n")
    assert worst(findings(WELL)) == OK


CHAIN = Filter("ip", "filter", "FORWARD", "forward", 0, "drop")
LETS_OUT = """\tchain FORWARD {
\t\ttype filter hook forward priority 0; policy drop;
\t\tct state established accept
\t\tiifname "shop-front" accept
\t}
"""
PUBLISHING = (
    TABLE
    + """
\tmap ports_ipv4 {
\t\telements = { tcp . 8080 comment "web" : 10.20.0.10 . 80 }
\t}

\tset targets_ipv4 {
\t\telements = { tcp . 10.20.0.10 . 80 }
\t}

\tset hairpin_ipv4 {
\t\telements = { "shop-front" . 10.20.0.0/24 }
\t}
"""
)
PPP = HostLink("ppp0", "", 1400, True, routes=("0.0.0.0/0",))
VPN = HostLink("tun0", "", 1500, True, routes=("10.20.0.0/16",))
TWIN = HostLink("eth1", "", 1500, True, addresses=("10.20.0.7/25",))

TROUBLES: dict[str, tuple[Examination, tuple[str, str, str]]] = {
    "a kernel without bridges": (
        replace(WELL, lacks=["bridge"]),
        (
            ERROR,
            "the kernel has no bridge",
            "load the module (modprobe bridge), or run a kernel that has CONFIG_BRIDGE",
        ),
    ),
    "a kernel without what is rare": (
        replace(WELL, lacks=["vlan", "ipvlan"]),
        (NOTE, "the kernel has no ipvlan, vlan, which some networks need", ""),
    ),
    "an old kernel": (
        replace(WELL, versions={"Linux": "5.10.0-8-amd64"}),
        (WARNING, "Linux 5.10.0-8-amd64 is older than 6.1, the oldest that is tried", "run a newer one"),
    ),
    "an old nft": (
        replace(WELL, versions={"nft": "0.9.8"}),
        (WARNING, "nft 0.9.8 is older than 1.0.6, the oldest that is tried", "install a newer one"),
    ),
    "no nftables": (
        replace(WELL, nftables="nftables is missing; install it (apt install nftables)"),
        (ERROR, "nftables is missing", "install it (apt install nftables)"),
    ),
    "no forwarding": (
        replace(WELL, settings=settings(net__ipv4__ip_forward="0")),
        (
            ERROR,
            "the host forwards no IPv4: containers of shop-front can reach nothing outside",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
    ),
    "no forwarding from a bridge": (
        replace(WELL, settings={**SETTINGS, "net.ipv4.conf.shop-front.forwarding": "0"}),
        (
            ERROR,
            "shop-front has IPv4 forwarding off: what its containers send goes no further than the host",
            "sysctl -w net.ipv4.conf.shop-front.forwarding=1",
        ),
    ),
    "no forwarding from the way out": (
        replace(WELL, settings={**SETTINGS, "net.ipv4.conf.eth0.forwarding": "0"}),
        (
            ERROR,
            "eth0 has IPv4 forwarding off: what comes in by it for containers of shop-front is dropped",
            "sysctl -w net.ipv4.conf.eth0.forwarding=1",
        ),
    ),
    "connections to the brim": (
        replace(WELL, settings=settings(net__netfilter__nf_conntrack_count="950")),
        (
            WARNING,
            "950 of 1000 connections are tracked, and further ones will be dropped",
            "sysctl -w net.netfilter.nf_conntrack_max=2000",
        ),
    ),
    "connections that can't be forgotten, and nobody to move": (
        replace(WELL, forgets=False),
        (
            NOTE,
            "the kernel has no nf_conntrack_netlink: a UDP flow to a published port or a service that moves goes on to"
            " where it went until it pauses for two minutes",
            "",
        ),
    ),
    "connections that can't be forgotten": (
        replace(WELL, forgets=False, tables=[TABLE, '\t\tudp . 53 comment "dns" : 10.20.0.10 . 53 }']),
        (
            WARNING,
            "the kernel has no nf_conntrack_netlink: a UDP flow to a published port or a service that moves goes on to"
            " where it went until it pauses for two minutes",
            "load the module (modprobe nf_conntrack_netlink), or run a kernel that has CONFIG_NF_CT_NETLINK",
        ),
    ),
    "strict checking on one of two ways out": (
        replace(WELL, facts=links(PPP), settings={**SETTINGS, "net.ipv4.conf.ppp0.rp_filter": "1"}),
        (
            WARNING,
            "rp_filter is strict on ppp0, one of 2 ways out: what comes in by it and would be answered by another is"
            " dropped",
            "sysctl -w net.ipv4.conf.ppp0.rp_filter=2",
        ),
    ),
    "a firewall": (
        replace(WELL, filters=[CHAIN]),
        (
            WARNING,
            "the firewall chain ip filter FORWARD (priority 0, policy drop) drops what is forwarded for shop-front",
            "iptables-nft -I FORWARD -i shop-front -j ACCEPT && iptables-nft -I FORWARD -o shop-front -j ACCEPT",
        ),
    ),
    "a firewall that lets nobody in": (
        replace(WELL, tables=[PUBLISHING], filters=[CHAIN._replace(text=LETS_OUT)]),
        (
            WARNING,
            "the firewall chain ip filter FORWARD (priority 0, policy drop) drops connections from elsewhere to port"
            " 8080/tcp, published for shop-front",
            'nft \'insert rule ip filter FORWARD iifname { "shop-front" } accept; insert rule ip filter FORWARD oifname'
            ' { "shop-front" } accept\'',
        ),
    ),
    "a chain on a bridge": (
        replace(WELL, filters=[Filter("bridge", "fw", "pass", "bridge forward", 0, "drop")]),
        (
            WARNING,
            "the firewall chain bridge fw pass (hook forward, priority 0, policy drop) drops what containers on"
            " shop-front send each other and the host",
            "look at it with `nft list chain bridge fw pass`, and have it let that pass",
        ),
    ),
    "large packets": (
        replace(WELL, facts=links(PPP, default_link="ppp0")),
        (
            WARNING,
            "shop-front has an MTU of 1500, and ppp0, by which packets leave, 1400: large ones are lost where nobody"
            " says so",
            "give the network `mtu: 1400`",
        ),
    ),
    "a route into a network": (
        replace(WELL, facts=links(VPN)),
        (
            WARNING,
            "10.20.0.0/24 of shop-front overlaps with 10.20.0.0/16, which the host reaches by tun0",
            "give the network another subnet (ipam.config), or remove the route: ip route del 10.20.0.0/16 dev tun0",
        ),
    ),
    "the same subnet on a card": (
        replace(WELL, facts=links(TWIN)),
        (
            WARNING,
            "10.20.0.0/24 of shop-front overlaps with 10.20.0.0/25, which the host reaches by eth1",
            "give the network another subnet (ipam.config)",
        ),
    ),
    "nobody to ask": (
        replace(WELL, facts=links(nameservers=())),
        (
            WARNING,
            "/etc/resolv.conf names no nameserver: nothing outside has a name for the host and its containers",
            "echo nameserver 9.9.9.9 >> /etc/resolv.conf",
        ),
    ),
    "no dnsmasq": (
        replace(WELL, programs=[]),
        (NOTE, "there is no dnsmasq, which answers for names of containers", "apt-get install -y dnsmasq-base"),
    ),
    "no way out": (
        replace(WELL, facts=links(default_link=None)),
        (NOTE, "the host has no default route, so that nothing tells which MTU networks should have", ""),
    ),
}


@pytest.mark.parametrize(("seen", "said"), TROUBLES.values(), ids=TROUBLES.keys())
def test_each_trouble_is_named_with_its_mend(seen: Examination, said: tuple[str, str, str]) -> None:
    assert [(one.severity, one.what, one.mend) for one in bad(seen)] == [said]


def test_frames_within_a_network_matter_where_a_firewall_drops_them() -> None:
    on = settings(**{"net__bridge__bridge-nf-call-iptables": "1"})
    assert bad(replace(WELL, settings=on)) == []
    (_, bridged) = bad(replace(WELL, settings=on, filters=[CHAIN]))
    assert bridged.what == (
        "net.bridge.bridge-nf-call-iptables is 1: also IPv4 between containers on shop-front passes the firewall chain"
        " ip filter FORWARD (priority 0, policy drop), and is dropped"
    )
    assert (bridged.mend, bridged.is_command) == ("sysctl -w net.bridge.bridge-nf-call-iptables=0", True)


def test_two_ways_out_with_loose_checking_are_no_trouble() -> None:
    loose = {**SETTINGS, "net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.ppp0.rp_filter": "2"}
    assert [one.what[:29] for one in bad(replace(WELL, facts=links(PPP), settings=loose))] == [
        "rp_filter is strict on eth0, "
    ]
    assert bad(replace(WELL, settings=loose)) == []


def test_without_rights_that_is_all_there_is_to_say() -> None:
    (one,) = bad(replace(WELL, capabilities=[12], lacks=["bridge"]))
    assert (one.severity, one.what) == (ERROR, "this process has not CAP_SYS_ADMIN")


def test_what_a_manifest_needs_is_an_error_where_it_is_lacking() -> None:
    desired = state([Link("web/front#ifb", "ifb", "", "if0"), Shaper("web/front", 8_000, 1600, 9000)])
    seen = replace(WELL, lacks=["ifb", SHAPING, "vlan"])
    found = bad(seen, Intention(desired))
    assert [(one.severity, one.what) for one in found] == [
        (ERROR, "the kernel has no ifb"),
        (ERROR, "the kernel has no traffic shaping"),
        (NOTE, "the kernel has no vlan, which nothing needs"),
    ]
    assert worst(found) == ERROR


def test_what_a_manifest_means_to_do_is_looked_at_before_it_is_done() -> None:
    meant = Intention(
        plan=Plan((Create(Link("front", "bridge", "", "shop-front")),)),
        refusals=["interface name eth9 is taken"],
        mtus={"front": 9000, "back": 1400},
    )
    assert [one.what for one in bad(replace(WELL, tables=[]), meant)] == [
        "front has an MTU of 9000, and eth0, by which packets leave, 1500: large ones are lost where nobody says so",
        "applying it would be refused: interface name eth9 is taken",
    ]
    (failed,) = bad(WELL, Intention(failure="the host has no link eth9; create it first"))
    assert (failed.severity, failed.what, failed.mend) == (ERROR, "the host has no link eth9", "create it first")


def test_why_a_manifest_can_not_be_planned_or_would_be_refused_is_parted_from_the_mend() -> None:
    meant = Intention(refusals=["port 80/tcp: nginx listens on 0.0.0.0; end that, or choose another", "eth9 is taken"])
    assert [(one.what, one.mend) for one in bad(WELL, meant)] == [
        ("applying it would be refused: port 80/tcp: nginx listens on 0.0.0.0", "end that, or choose another"),
        ("applying it would be refused: eth9 is taken", ""),
    ]
    failed = bad(WELL, Intention(failure="no kind vlan; load it\nno kind ipvlan; load that"))
    assert [(one.what, one.mend) for one in failed] == [("no kind vlan", "load it"), ("no kind ipvlan", "load that")]


def test_routes_into_networks_that_are_only_meant_are_seen_and_shims_are_where_they_belong() -> None:
    back = Link("back", "bridge", "", "shop-back")
    shim = Link("lan#host", "macvlan", "", "shop-lan")
    desired = state([back, Address("back", "10.21.0.1/24"), shim, Address("lan#host", "192.0.2.77/32")])
    route = HostLink("tun0", "", 1500, True, routes=("10.21.0.0/16",))
    there = HostLink("shop-lan", "macvlan", 1500, True, owner="shop", addresses=("192.0.2.77/32",))
    (one,) = bad(replace(WELL, facts=links(route, there)), Intention(desired))
    assert one.what == "10.21.0.0/24 of shop-back overlaps with 10.21.0.0/16, which the host reaches by tun0"


def test_one_link_that_forwards_nothing_is_no_matter_where_the_host_does_not_either() -> None:
    off = {**SETTINGS, "net.ipv4.ip_forward": "0", "net.ipv4.conf.shop-front.forwarding": "0"}
    assert len(bad(replace(WELL, settings=off))) == 1
    assert bad(replace(WELL, tables=[], settings={**SETTINGS, "net.ipv4.conf.eth0.forwarding": "0"})) == []


def test_docker_is_no_matter_where_the_manifest_coexists() -> None:
    docker = CHAIN._replace(text="chain DOCKER-USER { }")
    assert bad(replace(WELL, filters=[docker]), Intention(coexists=True)) == []
    (one,) = bad(replace(WELL, filters=[docker]))
    assert (one.mend[:21], one.is_command) == ("say `coexist: docker`", False)


def test_json_has_all_of_it() -> None:
    told = report.as_json(findings(replace(WELL, filters=[CHAIN])), {"nft": "1.0.6"})
    assert isinstance(told, dict)
    assert told["summary"] == {"error": 0, "warning": 1, "note": 0, "ok": 11}
    assert told["versions"] == {"nft": "1.0.6"}


def test_the_worst_comes_last_where_it_is_seen() -> None:
    text = report.text(findings(replace(WELL, filters=[CHAIN], lacks=["veth", "vlan"])), View())
    assert [line.split()[0] for line in text.splitlines() if not line.startswith(" ")][-4:] == [
        *("note", "warning", "error", "doctor:"),
    ]
    assert text.splitlines()[-1] == "doctor: 1 error, 1 warning, 1 note"


@pytest.mark.parametrize("form", ["txt", "json"])
def test_a_host_with_every_trouble_is_told_as_the_golden_file_has_it(form: str) -> None:
    every = [one for seen, _ in TROUBLES.values() for one in bad(seen)]
    told = report.text(every, View()) if form == "txt" else json.text(report.as_json(every, WELL.versions))
    compare(GOLDEN, f"troubles.{form}", told)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("10.20.0.200 . udp . 53 : goto service_api", True),
        ("10.20.0.200 . udp : goto service_api, 10.20.0.200 . sctp : goto service_api", True),
        ('udp . 192.0.2.10 . 53 comment "dns" : goto to_udp_53_ipv4', True),
        ('tcp . 53 comment "dns" : 10.20.0.10 . 53', False),
        ("10.20.0.200 . tcp . 53 : goto service_api, 10.20.0.200 . udp : goto no_service", False),
    ],
)
def test_who_moves_no_udp_needs_no_flows_forgotten(text: str, needed: bool) -> None:
    meant = Intention({one.key: one for one in [NftTable("inet", "netapply-shop", text, "client")]})
    assert [one.severity for one in bad(replace(WELL, forgets=False), meant)] == [WARNING if needed else NOTE]
