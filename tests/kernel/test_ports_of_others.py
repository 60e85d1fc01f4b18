"""Ports of the host that rules of others lead elsewhere: nobody listens there, and they are refused all the same."""

from __future__ import annotations

import re

import pytest

from tests.machine import Machine

from .test_ports import both, shop, tcp

IPTABLES = {4: "iptables-nft", 6: "ip6tables-nft"}
TO = {4: "203.0.113.2:7", 6: "[2001:db8:113::2]:7"}


families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


@families
def test_a_port_that_a_rule_of_iptables_leads_elsewhere_is_refused_with_its_chain(host: Machine, family: int) -> None:
    """As CNI's portmap, Docker without its proxy and many a script have it."""
    outside = host.outside()
    run = f"{IPTABLES[family]} -w -t nat"
    for rule in (
        "-N CNI-HOSTPORT-DNAT",
        "-N CNI-DN-0123",
        f"-A CNI-DN-0123 -p tcp --dport 8080 -j DNAT --to-destination {TO[family]}",
        "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8080,8443 -j CNI-DN-0123",
        "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
    ):
        host.run(f"{run} {rule}")
    before = host.snapshot()
    said = host.netapply("-", stdin=shop('["8080:80"]'), code=3).stderr
    ip, anywhere = ("ip", "0.0.0.0") if family == 4 else ("ip6", "[::]")
    taken = "port 8080/tcp of the host, which web is to be published on, is taken: the firewall chain"
    assert f"{taken} {ip} nat CNI-DN-0123 leads {anywhere}:8080 elsewhere" in said
    assert host.snapshot() == before
    assert "is taken" in host.netapply("plan", "-", stdin=shop('["8080:80"]'), code=None).stdout
    host.netapply("-", stdin=shop('["8081:80", "8080:80/udp"]'))
    assert tcp(host, "outside", "web", outside.host_address(family), 8081) == outside.address(family)


RULES = {
    "all": ("tcp dport 8080 dnat ip to 203.0.113.2:7", "0.0.0.0:8080"),
    "of-several": ("tcp dport { 22, 8000-8100 } redirect to :7", "8080"),
    "by-the-link-outside": ('iifname "uplink" tcp dport 8080 dnat ip to 203.0.113.2:7', "0.0.0.0:8080"),
    "of-one-address": ("ip daddr 203.0.113.1 tcp dport 8080 dnat ip to 203.0.113.2:7", "203.0.113.1:8080"),
    "of-one-ipv6": ("ip6 daddr 2001:db8:113::1 tcp dport 8080 redirect to :7", "[2001:db8:113::1]:8080"),
}


@pytest.mark.parametrize("name", RULES)
def test_a_port_that_a_rule_of_nft_leads_elsewhere_is_refused_with_its_chain(host: Machine, name: str) -> None:
    host.outside()
    rule, where = RULES[name]
    translate(host, rule)
    said = host.netapply("-", stdin=shop('["8080:80"]'), code=3).stderr
    assert "is taken: the firewall chain inet router forwards leads" in said
    assert where in said


@pytest.mark.parametrize(
    "rule",
    [
        "udp dport 8080 redirect to :7",
        "tcp dport 8081 redirect to :7",
        "tcp dport != 8080 redirect to :7",
        'iifname "lan9" tcp dport 8080 redirect to :7',
        "ip saddr 198.51.100.0/24 tcp dport 8080 redirect to :7",
        "ip daddr 203.0.113.99 tcp dport 8080 redirect to :7",
        "tcp dport 8080 accept",
    ],
    ids=["protocol", "port", "not-this-port", "link", "source", "address", "no-translation"],
)
def test_a_rule_about_something_else_is_in_nobodys_way(host: Machine, rule: str) -> None:
    outside = host.outside()
    translate(host, rule)
    host.netapply("-", stdin=shop('["8080:80"]'))
    for family in (4, 6) if "8080 accept" not in rule else ():
        assert tcp(host, "outside", "web", outside.host_address(family)) == outside.address(family)


def test_what_the_host_itself_sends_may_be_led_elsewhere_by_others(host: Machine) -> None:
    outside = host.outside()
    chain = "add chain inet router sent { type nat hook output priority -100; }"
    host.run(["nft", f"add table inet router; {chain}; add rule inet router sent tcp dport 8080 redirect to :7"])
    host.netapply("-", stdin=shop())
    assert both(host, "outside", "web", outside.host_ipv4) == outside.ipv4


def test_a_rule_that_comes_when_the_port_is_published_stops_no_run(host: Machine) -> None:
    host.outside()
    host.netapply("-", stdin=shop('["8080:80"]'))
    translate(host, "tcp dport 8080 redirect to :7")
    assert "nothing to do" in host.netapply("-", stdin=shop('["8080:80"]')).stdout


def test_a_port_on_one_address_is_not_taken_by_a_rule_about_another(host: Machine) -> None:
    outside = host.outside()
    translate(host, "ip daddr 203.0.113.1 tcp dport 8080 redirect to :7")
    host.netapply("-", stdin=shop('["127.0.0.1:8080:80"]'))
    host.netapply("destroy", "--project", "shop")
    host.netapply("-", stdin=shop(f'["{outside.host_ipv4}:8080:80"]'), code=3)


PORT = re.compile(r"port (\d+)/(tcp|udp) of web")


@families
def test_a_free_port_is_none_that_rules_of_others_lead_elsewhere(host: Machine, family: int) -> None:
    outside = host.outside()
    text = shop('["80", "80/udp"]')
    chosen = {kind: int(port) for port, kind in PORT.findall(host.netapply("plan", "-", stdin=text).stdout)}
    assert sorted(chosen) == ["tcp", "udp"]
    translate(host, f"tcp dport {{ 7, {chosen['tcp']}-{chosen['tcp'] + 499} }} redirect to :7")
    host.run(f"{IPTABLES[family]} -w -t nat -A PREROUTING -p udp --dport {chosen['udp']} -j DNAT --to {TO[family]}")
    before = theirs(host)
    host.netapply("-", stdin=text)
    found = {kind: int(port) for port, kind in PORT.findall(host.netapply("status", "-", stdin=text).stdout)}
    assert not chosen["tcp"] <= found["tcp"] < chosen["tcp"] + 500
    assert found["udp"] != chosen["udp"]
    for kind, send in (("tcp", host.tcp), ("udp", host.udp)):
        address, source = outside.host_address(family), outside.address(family)
        assert send("outside", "web", address, found[kind], target=80, within=10) == source
    assert theirs(host) == before
    translate(host, f"tcp dport {found['tcp']} redirect to :7")  # it is ours, and stays so
    assert "nothing to do" in host.netapply("-", stdin=text).stdout


def theirs(host: Machine) -> list[str]:
    """Return the tables of others."""
    tables = [line.split()[1:] for line in host.run("nft list tables").stdout.splitlines()]
    return [host.run(["nft", "list", "table", *one]).stdout for one in tables if not one[1].startswith("netapply")]


def translate(host: Machine, rule: str) -> None:
    """Have a rule of somebody else's, in a chain that his base chain jumps to."""
    base = "add chain inet router prerouting { type nat hook prerouting priority -100; }"
    chains = f"add table inet router; add chain inet router forwards; {base}"
    jump = "add rule inet router prerouting fib daddr type local jump forwards"
    host.run(["nft", f"{chains}; {jump}; add rule inet router forwards {rule}"])
