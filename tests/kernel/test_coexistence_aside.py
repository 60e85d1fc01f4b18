"""Chains of others ahead of the routing, behind it, on bridges and on links: what they drop of ours is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..machine import Machine, Outside
from .test_coexistence import firewall

MANIFEST = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web:
    networks: {front: {ipv4_address: 10.20.0.10}}
    ports: ["8080:80"]
  db: {networks: {front: {ipv4_address: 10.20.0.11}}}
"""


def table(family: str, head: str, *rules: str) -> str:
    lines = [f"add table {family} fw", f"add chain {family} fw own {{ type filter hook {head}; }}"]
    return f"nft '{'; '.join([*lines, *(f'add rule {family} fw own {rule}' for rule in rules)])}'"


PUBLISHED = "connections from elsewhere to port 8080/tcp, published for shop-front"
WITHIN = "what containers on shop-front send each other and the host"
CUT = {
    "prerouting": (
        table("inet", "prerouting priority -150", "tcp dport 8080 drop"),
        ("inet fw own (hook prerouting, priority -150, by its rules)", PUBLISHED, "published"),
    ),
    "prerouting, behind the translation": (
        table("ip", "prerouting priority -50", "ip daddr 10.20.0.10 tcp dport 80 drop"),
        ("ip fw own (hook prerouting, priority -50, by its rules)", PUBLISHED, "published"),
    ),
    "prerouting, what is sent": (
        table("inet", "prerouting priority 0", 'iifname "shop-*" drop'),
        ("inet fw own (hook prerouting, priority 0, by its rules)", "what containers of shop-front send", "out"),
    ),
    "postrouting": (
        table("inet", "postrouting priority 0", 'oifname "shop-front" ct state new drop'),
        ("inet fw own (hook postrouting, priority 0, by its rules)", PUBLISHED, "published"),
    ),
    "postrouting, answers too": (
        table("inet", "postrouting priority 0", 'oifname "shop-front" drop'),
        (
            "inet fw own (hook postrouting, priority 0, by its rules)",
            f"what is sent to containers of shop-front and {PUBLISHED}",
            "published",
        ),
    ),
    "a link": (
        table("netdev", "ingress device uplink priority 0", "tcp dport 8080 drop"),
        ("netdev fw own (hook ingress, priority 0, by its rules)", PUBLISHED, "published"),
    ),
    "bridges": (
        table("bridge", "forward priority 0; policy drop", "ether type arp accept"),
        ("bridge fw own (hook forward, priority 0, policy drop)", WITHIN, "within"),
    ),
    "bridges, what is not marked": (
        table("bridge", "forward priority 1; policy drop", "ether type arp accept", "meta mark 5 accept"),
        ("bridge fw own (hook forward, priority 1, policy drop)", WITHIN, "within"),
    ),
    "iptables": (
        "iptables-nft -t mangle -A PREROUTING -p tcp -m tcp --dport 8080 -j DROP",
        ("ip mangle PREROUTING (hook prerouting, priority -150, by its rules)", PUBLISHED, "published"),
    ),
    "legacy": (
        "iptables-legacy -t raw -A PREROUTING -i uplink -p tcp -m tcp --dport 8080 -j DROP",
        ("legacy ip raw PREROUTING (hook prerouting, priority -300, by its rules)", PUBLISHED, "published"),
    ),
}


def passes(host: Machine, outside: Outside, what: str) -> bool:
    if what == "published":
        return host.tcp("outside", "web", outside.host_ipv4, 8080, target=80, within=0.5) is not None
    if what == "out":
        return host.tcp("web", "outside", outside.ipv4, within=0.5) is not None
    return host.tcp("db", "web", "10.20.0.10", within=0.5) is not None


@pytest.mark.parametrize(("command", "told"), CUT.values(), ids=CUT.keys())
def test_what_a_chain_aside_drops_is_said(
    host: Machine, outside: Outside, manifest: Path, command: str, told: tuple[str, str, str]
) -> None:
    chain, what, cut = told
    assert passes(host, outside, cut)
    host.run(["sh", "-c", command])
    before = firewall(host)
    said = host.netapply("plan", manifest).stdout
    verb = "may drop" if "priority 1," in chain else "drops"
    assert f"note: the firewall chain {chain} {verb} {what}; look at it with `" in said
    assert said.count("note: ") == 1
    found = json.loads(host.netapply("doctor", "--format", "json", manifest).stdout)["findings"]
    (one,) = [one for one in found if one["subject"] == "firewall"]
    assert one["what"] == f"the firewall chain {chain} {verb} {what}"
    assert (one["severity"], one["is_command"]) == ("note" if verb == "may drop" else "warning", False)
    look = one["mend"].split("`")[1]
    assert "drop" in host.run(look.split()).stdout.lower(), "the command shows the chain"
    assert firewall(host) == before
    assert not passes(host, outside, cut)


QUIET = {
    "who comes from elsewhere than it seems": table(
        "inet", "prerouting priority -140", "fib saddr . mark . iif oif missing drop", "ct state invalid drop"
    ),
    "some address": table("inet", "prerouting priority -300", "ip saddr 198.51.100.66 drop"),
    "another port": table("inet", "prerouting priority -150", "tcp dport 8081 drop", "udp dport 8080 drop"),
    "another link": table("netdev", "ingress device lo priority 0", "drop"),
    "another port of a bridge": table("bridge", "forward priority 0", 'iifname "vnet0" drop'),
    "bridges, but all of IP": table(
        "bridge", "forward priority 0; policy drop", "ether type { arp, ip, ip6 } counter accept"
    ),
    "what leaves by another link": table("inet", "postrouting priority 0", 'oifname "tun0" drop'),
}


@pytest.mark.parametrize("command", QUIET.values(), ids=QUIET.keys())
def test_what_drops_nothing_of_ours_is_not_spoken_of(
    host: Machine, outside: Outside, manifest: Path, command: str
) -> None:
    host.run(["sh", "-c", command])
    assert all(passes(host, outside, what) for what in ("published", "out", "within"))
    assert "note" not in host.netapply("plan", manifest).stdout
    assert "no firewall of others is in the way" in host.netapply("doctor", manifest).stdout
