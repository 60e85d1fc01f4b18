"""What firewalls of others drop of what comes from elsewhere: it is said, and the mend opens it as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..cluster import Host, apply, cluster
from ..machine import Machine, Outside
from .test_coexistence import firewall, mend_of

MANIFEST = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  web:
    networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}
    ports: ["8080:80", "5353:53/udp", "127.0.0.1:9090:90"]
"""


def reached(host: Machine, outside: Outside, families: tuple[int, ...] = (4, 6)) -> set[bool]:
    """Return whether the published ports are reached from outside, by both protocols."""
    found = set()
    for family in families:
        address = outside.host_ipv4 if family == 4 else outside.host_ipv6
        found.add(host.tcp("outside", "web", address, 8080, target=80, within=0.5) is not None)
        found.add(host.udp("outside", "web", address, 5353, target=53, within=0.5) is not None)
    return found


def chain(hook: str, *rules: str, policy: str = "accept") -> list[str]:
    made = f"add table inet fw; add chain inet fw own {{ type filter hook {hook} priority 5; policy {policy}; }}"
    return [f"nft '{'; '.join([made, *(f'add rule inet fw own {rule}' for rule in rules)])}'"]


def iptables(program: str) -> list[str]:
    accepts = ("-m conntrack --ctstate ESTABLISHED,RELATED", "-i shop-front")
    return [f"{program} -P FORWARD DROP", *(f"{program} -A FORWARD {one} -j ACCEPT" for one in accepts)]


BOTH = (4, 6)
SHUT = {
    "a server's usual firewall": (
        BOTH,
        chain("forward", "ct state established,related accept", 'iifname "shop-front" accept', policy="drop"),
    ),
    "new connections to the network": (BOTH, chain("forward", 'oifname "shop-front" ct state new drop')),
    "new connections from outside": (BOTH, chain("forward", 'iifname "uplink" ct state new drop')),
    "all but other addresses": (
        BOTH,
        chain("forward", 'iifname "uplink" ip daddr 10.20.0.11 accept', 'iifname "uplink" ct state new counter reject'),
    ),
    "iptables": ((4,), iptables("iptables-nft")),
    "ip6tables": ((6,), iptables("ip6tables-nft")),
    "legacy": ((4,), iptables("iptables-legacy")),
}


@pytest.mark.parametrize(("families", "commands"), SHUT.values(), ids=SHUT.keys())
def test_what_is_published_and_dropped_is_said_and_the_mend_opens_it(
    host: Machine, outside: Outside, manifest: Path, families: tuple[int, ...], commands: list[str]
) -> None:
    assert reached(host, outside) == {True}
    for command in commands:
        host.run(["sh", "-c", command])
    before = firewall(host)
    said = host.netapply("plan", manifest).stdout
    assert said.count("note: ") == 1
    assert "drops connections from elsewhere to ports 5353/udp, 8080/tcp, published for shop-front; " in said
    assert "published for shop-front" in host.netapply(manifest).stdout
    assert "drops connections from elsewhere to ports 5353/udp, 8080/tcp" in host.netapply("doctor").stdout
    assert firewall(host) == before
    assert reached(host, outside, families) == {False}
    assert host.ping("web", outside.ipv4), "what the network sends passes"
    host.run(["sh", "-c", mend_of(said)])
    assert reached(host, outside) == {True}
    assert "note" not in host.netapply("plan", manifest).stdout
    assert "no firewall of others is in the way" in host.netapply("doctor", manifest).stdout


OPEN = {
    "what was led to another address": ("ct status dnat accept", 'iifname "shop-front" accept'),
    "the network, both ways": ('iifname "shop-front" accept', 'oifname "shop-front" accept'),
    "the ports": ('iifname "shop-front" accept', "tcp dport 80 accept", "udp dport 53 accept"),
    "what comes from outside": ('iifname { "uplink", "shop-front" } accept',),
    "the container": ('iifname "shop-front" accept', "ip daddr 10.20.0.10 accept", "ip6 daddr fd00:20::10 accept"),
}


@pytest.mark.parametrize("rules", OPEN.values(), ids=OPEN.keys())
def test_who_lets_in_what_is_published_is_not_spoken_of(
    host: Machine, outside: Outside, manifest: Path, rules: tuple[str, ...]
) -> None:
    host.run(["sh", "-c", *chain("forward", "ct state established,related accept", *rules, policy="drop")])
    assert reached(host, outside) == {True}
    assert "note" not in host.netapply("plan", manifest).stdout
    assert "no firewall of others is in the way" in host.netapply("doctor", manifest).stdout


def test_only_the_ports_that_are_dropped_are_named(host: Machine, outside: Outside, manifest: Path) -> None:
    host.run(["sh", "-c", *chain("forward", "tcp dport 80 ct state new drop")])
    said = host.netapply("plan", manifest).stdout
    assert "drops connections from elsewhere to port 8080/tcp, published for shop-front; " in said
    host.run(["sh", "-c", mend_of(said)])
    assert reached(host, outside) == {True}


def test_what_is_published_for_the_host_alone_nobody_outside_is_to_reach(
    host: Machine, outside: Outside, manifest: Path
) -> None:
    manifest.write_text(MANIFEST.replace('"8080:80", "5353:53/udp", ', ""))
    host.netapply(manifest)
    host.run(["sh", "-c", *chain("forward", 'iifname "uplink" ct state new drop')])
    assert "note" not in host.netapply("plan", manifest).stdout


# --- what other hosts send

OVERLAY = """
project: shop
hosts: {one: {address: "ONE"}, two: {address: "TWO"}}
networks:
  front:
    driver: overlay
    internal: true
    driver_opts: {OPTIONS}
    ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}
containers:
  a: {host: one, networks: {front: {ipv4_address: 10.50.0.20}}}
  b: {host: two, networks: {front: {ipv4_address: 10.50.0.36}}}
"""


def overlay(family: int, options: str = "") -> str:
    start = "192.0.2." if family == 4 else "2001:db8:2::"
    return OVERLAY.replace("ONE", f"{start}1").replace("TWO", f"{start}2").replace("OPTIONS", options)


def hosts_of(host: Machine, text: str) -> dict[str, Host]:
    hosts = cluster(host, ("one", "two"))
    apply(hosts, text)
    assert answers(host, hosts)
    return hosts


def answers(host: Machine, hosts: dict[str, Host]) -> bool:
    """Whether a packet of a flow that is new each time gets from one host to the other."""
    return host.udp(hosts["one"].container("a"), hosts["two"].container("b"), "10.50.0.36", within=0.5) is not None


STRICT = [
    "ct state established,related accept",
    'iif "lo" accept',
    "tcp dport 22 accept",
    "meta l4proto { icmp, ipv6-icmp } accept",
]


def server(program: str) -> list[str]:
    accepts = ("-m conntrack --ctstate ESTABLISHED,RELATED", "-i lo", "-p icmpv6" if "6" in program else "-p icmp")
    return [f"{program} -P INPUT DROP", *(f"{program} -A INPUT {one} -j ACCEPT" for one in accepts)]


INPUT = {
    "by hand": (4, "", chain("input", *STRICT, policy="drop")),
    "by hand, IPv6": (6, "", chain("input", *STRICT, policy="drop")),
    "by hand, routed": (4, "mode: l3", chain("input", *STRICT, policy="drop")),
    "a port of its own": (4, "port: 8472", chain("input", *STRICT, "udp dport 4789 accept", policy="drop")),
    "iptables": (4, "", server("iptables-nft")),
    "ip6tables": (6, "", server("ip6tables-nft")),
    "legacy": (4, "", server("iptables-legacy")),
}


@pytest.mark.parametrize(("family", "options", "commands"), INPUT.values(), ids=INPUT.keys())
def test_what_other_hosts_send_and_a_firewall_drops_is_said_and_the_mend_opens_it(
    host: Machine, tmp_path: Path, family: int, options: str, commands: list[str]
) -> None:
    text = overlay(family, options)
    hosts = hosts_of(host, text)
    two, path = hosts["two"], tmp_path / "shop.yaml"
    path.write_text(text)
    for command in commands:
        two.run(["sh", "-c", command])
    port = 8472 if options == "port: 8472" else 4789
    said = two.netapply("plan", path).stdout
    what = f"drops what other hosts send for front (VXLAN, UDP port {port}); "
    assert said.count("note: ") == said.count(what) == 1
    assert what[:-2] in two.netapply("doctor", path).stdout
    assert not answers(host, hosts)
    mend = mend_of(said)
    assert hosts["one"].address_of(family) in mend, "nobody else can send frames into the network"
    two.run(["sh", "-c", mend])
    assert answers(host, hosts)
    assert "note" not in two.netapply("plan", path).stdout
    assert "no firewall of others is in the way" in two.netapply("doctor", path).stdout


@pytest.mark.parametrize(
    "rule",
    ["udp dport 4789 accept", "ip saddr 192.0.2.0/24 accept", 'iifname "eth0" udp dport { 53, 4789 } accept'],
)
def test_who_lets_in_what_other_hosts_send_is_not_spoken_of(host: Machine, tmp_path: Path, rule: str) -> None:
    text = overlay(4)
    hosts, path = hosts_of(host, text), tmp_path / "shop.yaml"
    path.write_text(text)
    hosts["two"].run(["sh", "-c", *chain("input", *STRICT, rule, policy="drop")])
    assert answers(host, hosts)
    assert "note" not in hosts["two"].netapply("plan", path).stdout
    assert "no firewall of others is in the way" in hosts["two"].netapply("doctor", path).stdout
