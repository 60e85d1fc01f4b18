"""What comes to a host from elsewhere, by what is desired, and what chains of others would do with it."""

from __future__ import annotations

import io

import pytest

from reconciler import engine
from reconciler.aside import Ours, dropped
from reconciler.coexistence import obstacles
from reconciler.host import Filter, HostLink
from reconciler.host.fake import FakeHost
from reconciler.incoming import Incoming, Published, Tunnel, alike, incoming
from reconciler.manifest import load
from reconciler.resources import FdbEntry, Link, Option, Resource, Wireguard, WireguardPeer

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web:
    networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}
    ports: ["8080:80", "127.0.0.1:9090:90", "192.0.2.10:7070:70"]
  api-1: {networks: {back: {ipv4_address: 10.21.0.11}}}
  api-2: {networks: {back: {ipv4_address: 10.21.0.12}}}
services:
  api: {network: back, containers: ["api-*"], ports: ["8081:81/udp"]}
"""
LAN = HostLink("eth1", "", 1500, True, addresses=("192.0.2.10/24",))
OUT = HostLink("eth0", "", 1500, True, addresses=("198.51.100.2/24",), routes=("0.0.0.0/0",))
LINKS = {one.name: one for one in (LAN, OUT)}


def desired() -> list[Resource]:
    proposal = engine.plan(load(["-"], stdin=io.StringIO(SHOP)), FakeHost())
    return list(proposal.desired.values())


def test_published_ports_have_the_links_of_their_networks_and_those_by_which_others_come() -> None:
    found = incoming(desired(), LINKS)
    assert found.tunnels == ()
    assert set(found.published) == {
        Published(4, "tcp", 8080, "10.20.0.10", 80, "shop-front", ("eth0",)),
        Published(6, "tcp", 8080, "fd00:20::10", 80, "shop-front", (None,)),
        Published(4, "tcp", 7070, "10.20.0.10", 70, "shop-front", ("eth1",)),
        Published(4, "udp", 8081, "10.21.0.11", 81, "shop-back", ("eth0",)),
        Published(4, "udp", 8081, "10.21.0.12", 81, "shop-back", ("eth0",)),
    }


def forward(rules: str, policy: str = "accept", family: str = "inet") -> Filter:
    text = f"table {family} fw {{\n\tchain own {{\n\t\ttype filter hook forward priority 5; policy {policy};\n"
    text += "".join(f"\t\t{rule}\n" for rule in rules.split("\n")) + "\t}\n}\n"
    return Filter(family, "fw", "own", "forward", 5, policy, text)


@pytest.mark.parametrize(
    ("rules", "policy", "what"),
    [
        (
            'iifname "shop-*" accept\nct state established accept',
            "drop",
            "ports 7070/tcp, 8080/tcp, 8081/udp, published for shop-back, shop-front",
        ),
        ('iifname "eth1" ct state new drop', "accept", "port 7070/tcp, published for shop-front"),
        ('oifname "shop-back" udp dport 81 ct state new drop', "accept", "port 8081/udp, published for shop-back"),
        ("ip daddr 10.21.0.12 ct state new drop", "accept", "port 8081/udp, published for shop-back"),
        ("ct state new ip saddr 203.0.113.0/24 drop", "accept", ""),
        ("ct status dnat accept\niifname shop-* accept\nct state established accept", "drop", ""),
        ('iifname "shop-*" accept\nct state established accept\nip saddr 192.0.2.0/24 accept', "drop", ""),
    ],
)
def test_what_is_published_and_dropped_is_named(rules: str, policy: str, what: str) -> None:
    comes = incoming(desired(), LINKS)
    links = {4: ("shop-back", "shop-front"), 6: ("shop-front",)}
    found = [one.what for one in obstacles([forward(rules, policy)], links, incoming=comes)]
    assert [one.partition("elsewhere to ")[2] for one in found] == ([what] if what else [])


def test_many_ports_are_counted() -> None:
    many = Incoming(tuple(Published(4, "tcp", port, "10.20.0.10", 80, "shop-front") for port in range(8000, 8010)))
    (one,) = obstacles([forward("ct state established accept\niifname shop-front accept", "drop")], {}, incoming=many)
    assert "to ports 8000/tcp, 8001/tcp, 8002/tcp and 7 more, published" in one.what


RULES = """tcp dport { 80, 8000-8003 } accept
udp dport 8002 accept
iifname "shop-front" accept
tcp dport @open accept
ct state established accept"""


def test_ports_that_rules_do_not_tell_apart_are_followed_once_and_come_out_as_each_alone() -> None:
    chain = forward(RULES, "drop")
    chain = chain._replace(text=chain.text + "\tset open {\n\t\telements = { 8005, 8007-8008 }\n\t}\n")
    ports = [
        Published(4, protocol, port, "10.20.0.10", port, "shop-front")
        for protocol in ("tcp", "udp")
        for port in range(7998, 8012)
    ]
    groups = alike(chain.text, ports)
    assert sorted(one for some in groups for one in some) == sorted(ports)
    assert len(groups) < len(ports)
    for some in groups:
        alone = [bool(obstacles([chain], {}, incoming=Incoming((one,)))) for one in some]
        assert len(set(alone)) == 1, some
    shut = [one for one in ports if obstacles([chain], {}, incoming=Incoming((one,)))]
    passing = {*range(8000, 8004), 8005, 8007, 8008}
    assert [(one.protocol, one.port) for one in shut] == [
        *(("tcp", port) for port in range(7998, 8012) if port not in passing),
        *(("udp", port) for port in range(7998, 8012) if port != 8002),
    ]


def test_a_plan_says_it() -> None:
    host = FakeHost()
    host.kernel.filters = [forward('iifname { "shop-back", "shop-front" } accept\nct state established accept', "drop")]
    notes = engine.plan(load(["-"], stdin=io.StringIO(SHOP)), host).plan.notes
    assert "drops connections from elsewhere to ports 7070/tcp, 8080/tcp, 8081/udp, published for" in notes[-1]


# --- tunnels


def overlay(local: str, *peers: str, parent: str | None = None, port: int = 4789) -> list[Resource]:
    family = "local6" if ":" in local else "local"
    options: dict[str, Option] = {"id": 7, family: local, "port": port}
    link = Link("front#vxlan", "vxlan", "", "vx1", parent=parent, options=options)
    return [link, *(FdbEntry(link.path, f"02:00:00:00:00:{at:02}", peer) for at, peer in enumerate(peers))]


WIREGUARD: list[Resource] = [
    Link("#wg", "wireguard", "", "wg1"),
    Wireguard("#wg", "key", 51820),
    WireguardPeer("#wg", "other", "198.51.100.3:51820", ("fd00::2/128",)),
    WireguardPeer("#wg", "third", "[2001:db8::3]:51820", ("fd00::3/128",)),
]


def test_what_other_hosts_send_comes_by_the_link_with_the_address_or_by_wireguard() -> None:
    assert incoming(overlay("192.0.2.10", "192.0.2.11", "192.0.2.12"), LINKS).tunnels == (
        Tunnel("VXLAN", 4789, (("192.0.2.11", "eth1"), ("192.0.2.12", "eth1")), ("front",)),
    )
    assert incoming(overlay("192.0.2.10"), LINKS).tunnels == (), "there is no other host"
    assert incoming([*overlay("fd00::1", "fd00::2", parent="#wg"), *WIREGUARD], LINKS).tunnels == (
        Tunnel("VXLAN", 4789, (("fd00::2", "wg1"),), ("front",)),
        Tunnel("WireGuard", 51820, (("198.51.100.3", "eth0"), ("2001:db8::3", None)), ("front",), bound=False),
    )


def entering(rules: str = "", family: str = "inet", table: str = "fw", chain: str = "own", more: str = "") -> Filter:
    text = f"\tchain {chain} {{\n\t\ttype filter hook input priority 0; policy drop;\n\t\t{rules}\n\t}}\n{more}"
    return Filter(family, table, chain, "input", 0, "drop", text)


PLAIN = incoming(overlay("192.0.2.10", "192.0.2.11", "192.0.2.12"), LINKS)
SEALED = incoming([*overlay("fd00::1", "fd00::2", parent="#wg"), *WIREGUARD], LINKS)
LEGACY = Filter("ip", "filter", "INPUT", "input", 0, "drop", "-P INPUT DROP", legacy=True)
MENDS = {
    "nft": (
        entering(),
        PLAIN,
        ["nft 'insert rule inet fw own ip saddr { 192.0.2.11, 192.0.2.12 } udp dport 4789 accept'"],
    ),
    "nft, encrypted": (
        entering(),
        SEALED,
        [
            "nft 'insert rule inet fw own ip6 saddr { fd00::2 } udp dport 4789 accept'",
            "nft 'insert rule inet fw own udp dport 51820 accept'",
        ],
    ),
    "iptables": (
        entering("counter", "ip", "filter", "INPUT"),
        PLAIN,
        [
            "iptables-nft -I INPUT -s 192.0.2.11 -p udp --dport 4789 -j ACCEPT"
            " && iptables-nft -I INPUT -s 192.0.2.12 -p udp --dport 4789 -j ACCEPT"
        ],
    ),
    "ip6tables": (
        entering("counter", "ip6", "filter", "INPUT"),
        SEALED,
        [
            "ip6tables-nft -I INPUT -s fd00::2 -p udp --dport 4789 -j ACCEPT",
            "ip6tables-nft -I INPUT -p udp --dport 51820 -j ACCEPT",
        ],
    ),
    "legacy": (
        LEGACY,
        SEALED,
        ["iptables-legacy -I INPUT -p udp --dport 51820 -j ACCEPT"],
    ),
    "ufw": (
        entering("counter jump ufw-user-input", "ip", "filter", "INPUT", "\tchain ufw-user-input {\n\t}\n"),
        PLAIN,
        [
            "ufw allow from 192.0.2.11 to any port 4789 proto udp"
            " && ufw allow from 192.0.2.12 to any port 4789 proto udp"
        ],
    ),
    "ufw, encrypted": (
        entering("counter jump ufw6-user-input", "ip6", "filter", "INPUT", "\tchain ufw6-user-input {\n\t}\n"),
        SEALED,
        ["ufw allow from fd00::2 to any port 4789 proto udp", "ufw allow 51820/udp"],
    ),
    "firewalld": (
        entering("reject", "inet", "firewalld", "filter_INPUT"),
        SEALED,
        [
            "firewall-cmd --permanent --new-policy=netapply-hosts;"
            " firewall-cmd --permanent --policy=netapply-hosts --add-ingress-zone=ANY"
            " && firewall-cmd --permanent --policy=netapply-hosts --add-egress-zone=HOST"
            f" && firewall-cmd --permanent --policy=netapply-hosts {what} && firewall-cmd --reload"
            for what in (
                "--add-rich-rule='rule family=ipv6 source address=fd00::2 port port=4789 protocol=udp accept'",
                "--add-port=51820/udp",
            )
        ],
    ),
}


@pytest.mark.parametrize(("chain", "comes", "mends"), MENDS.values(), ids=MENDS.keys())
def test_who_drops_what_other_hosts_send_is_told_what_to_let_in(
    chain: Filter, comes: Incoming, mends: list[str]
) -> None:
    assert [one.mend for one in obstacles([chain], {}, incoming=comes)] == mends


def test_what_is_dropped_of_other_hosts_is_said() -> None:
    said = [one.what.partition(" drops ")[2] for one in obstacles([entering()], {}, incoming=SEALED)]
    assert said == [
        "what other hosts send for front (VXLAN, UDP port 4789)",
        "what other hosts send for front (WireGuard, UDP port 51820)",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "udp dport { 53, 4789, 51820 } accept",
        'iifname { "eth0", "eth1", "wg1" } udp dport 4789-51820 accept',
        "udp dport { 4789, 51820 } limit rate 1000/second accept",
        "ct state new accept",
    ],
)
def test_who_lets_them_in_or_knows_the_port_is_not_spoken_of(rule: str) -> None:
    assert not obstacles([entering(rule)], {}, incoming=PLAIN)
    if "eth0" not in rule:  # from 2001:db8::3 it may come by any other
        assert not obstacles([entering(rule)], {}, incoming=SEALED)


def test_the_one_host_that_is_dropped_is_let_in() -> None:
    (one,) = obstacles([entering("ip saddr 192.0.2.11 accept")], {}, incoming=PLAIN)
    assert one.mend == "nft 'insert rule inet fw own ip saddr { 192.0.2.12 } udp dport 4789 accept'"


# --- aside


def bridges(rules: str, policy: str = "accept", hook: str = "forward") -> Filter:
    text = f"\tchain own {{\n\t\ttype filter hook {hook} priority 0; policy {policy};\n\t\t{rules}\n\t}}\n"
    return Filter("bridge", "fw", "own", f"bridge {hook}", 0, policy, text)


OURS = Ours({4: ("shop-front",)}, ("shop-back", "shop-front"), PLAIN)


@pytest.mark.parametrize(
    ("chain", "what"),
    [
        (bridges('meta ibrname "shop-front" drop'), "drops what containers on shop-front send each other and the host"),
        (bridges('obrname "shop-*" ether type ip drop'), "drops what containers on shop-back, shop-front send"),
        (bridges('meta ibrname "virbr0" drop'), None),
        (bridges('iifname "shop-front" drop'), None),  # that would be a port
        (bridges("", "drop"), "drops what containers on shop-back, shop-front send"),
        (bridges('iifname "vnet*" accept', "drop"), "may drop what containers on shop-back, shop-front send"),
        (bridges("ether type { arp, ip, ip6 } accept", "drop"), None),
        (bridges("ether type != ip6 accept", "drop"), "drops what containers on shop-back, shop-front send"),
        (bridges("ether type vlan drop"), None),
        (bridges("meta mark 7 drop"), None),
    ],
)
def test_what_a_chain_of_bridges_drops_is_known_by_the_bridge(chain: Filter, what: str | None) -> None:
    said = [str(one).partition("(hook forward, ")[2].partition(") ")[2] for one in dropped([chain], OURS)]
    assert [one[: len(what or one)] for one in said] == ([what] if what else [])


def test_what_other_hosts_send_is_looked_at_on_the_link_that_it_comes_by() -> None:
    head = "type filter hook ingress devices = { %s } priority 0; policy accept;"
    text = f"\tchain own {{\n\t\t{head}\n\t\tudp dport 4789 drop\n\t}}\n"
    one = Filter("netdev", "fw", "own", "netdev ingress", 0, "accept", text % "eth0, eth1")
    assert [str(each).partition(" drops ")[2] for each in dropped([one], OURS)] == [
        "what other hosts send for front (VXLAN, UDP port 4789)"
    ]
    assert not list(dropped([one._replace(text=text % "eth0")], OURS))


def test_it_says_where_to_look() -> None:
    (one,) = dropped([bridges("", "drop")], OURS)
    assert one.mend == "look at it with `nft list chain bridge fw own`, and have it let that pass"
    legacy = Filter("ip6", "raw", "PREROUTING", "prerouting", -300, "drop", "-P PREROUTING DROP", legacy=True)
    (one,) = dropped([legacy], Ours({6: ("shop-front",)}, (), Incoming()))
    assert str(one) == (
        "the firewall chain legacy ip6 raw PREROUTING (hook prerouting, priority -300, policy drop) drops"
        " what containers of shop-front send"
    )
    assert one.mend == "look at it with `ip6tables-legacy -t raw -S PREROUTING`, and have it let that pass"
