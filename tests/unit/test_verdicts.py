"""What becomes of packets in chains of others. That it is true is in tests/kernel/test_explain_beside.py."""

from __future__ import annotations

import pytest

from reconciler.host import Filter
from reconciler.verdicts import ACCEPT, DROP, Packet, outcomes

OUT = Packet(4, iif="front", protocol="tcp", port=80, source="10.20.0.10")
BACK = Packet(4, oif="front", begins=False, protocol="tcp", target="10.20.0.10")
ASKS = Packet(6, iif="front", oif="", protocol="icmpv6", local=True, discovery="135")
YES, NO, MAYBE = {ACCEPT}, {DROP}, {ACCEPT, DROP}

NFT = {
    "counter packets 3 bytes 180 accept": (YES, YES),
    'iifname "front" accept': (YES, NO),
    'iifname "fro*" accept comment "so it is"': (YES, MAYBE),
    'iifname != "front" accept': (NO, YES),
    'iifname { "lo", "front" } oifname "eth0" accept': (MAYBE, NO),
    "iifname @mine accept": (YES, MAYBE),
    "iifname @unheard accept": (MAYBE, MAYBE),
    'iif "lo" accept': (NO, NO),
    "ct state established,related accept": (NO, YES),
    "ct state { established, related } accept": (NO, YES),
    "ct state != new accept": (NO, YES),
    "ct state vmap { established : accept, related : accept, new : jump more }": (YES, YES),
    "ct state vmap { new : continue, established : accept }": (NO, YES),
    "ct status dnat accept": (NO, MAYBE),
    "ip saddr 10.20.0.0/24 accept": (YES, MAYBE),
    "ip saddr != { 10.20.0.10, 10.20.0.11 } accept": (NO, MAYBE),
    "ip saddr 10.20.0.1-10.20.0.20 accept": (MAYBE, MAYBE),
    "ip saddr @unheard accept": (MAYBE, MAYBE),
    "ip6 saddr fd00::/8 accept": (NO, NO),
    "meta nfproto ipv4 accept": (YES, YES),
    "meta nfproto != ipv4 accept": (NO, NO),
    "tcp dport { 22, 79-81 } accept": (YES, MAYBE),
    "tcp dport != 80 accept": (NO, MAYBE),
    "udp dport 80 accept": (NO, NO),
    "th dport 80 accept": (YES, MAYBE),
    "meta l4proto { tcp, udp } accept": (YES, YES),
    "meta l4proto != tcp accept": (NO, NO),
    "icmp type echo-request accept": (NO, NO),
    "tcp flags & (syn | ack) == syn accept": (MAYBE, MAYBE),
    "fib daddr type local accept": (NO, NO),
    "limit rate 5/second accept": (MAYBE, MAYBE),
    "ip saddr . ip daddr { 10.20.0.10 . 192.0.2.1 } accept": (MAYBE, MAYBE),
    'iifname vmap { "front" : accept }': (MAYBE, MAYBE),
    'log prefix "no: " level warn': (NO, NO),
    "queue flags bypass to 1": (MAYBE, MAYBE),
    "jump more": (YES, YES),
    "goto less": (NO, NO),
    "jump unheard": (MAYBE, MAYBE),
    "jump round": (MAYBE, MAYBE),
    "meta mark 1 return": (NO, NO),
    "xt target \"REJECT\"": (NO, NO),
}  # fmt: skip

TABLE = """table inet fw {
\tset mine {
\t\ttype ifname
\t\telements = { "eth7",
\t\t\t     "front" }
\t}

\tchain more {
\t\tcounter accept
\t}

\tchain less {
\t\tmeta nfproto ipv6 accept
\t}

\tchain round {
\t\tjump round
\t}

\tchain pass {
\t\ttype filter hook forward priority filter; policy drop;
\t\t%s
\t}
}
"""


@pytest.mark.parametrize(("rule", "expected"), NFT.items(), ids=NFT.keys())
def test_a_rule_of_nfts_is_judged(rule: str, expected: tuple[set[str], set[str]]) -> None:
    one = Filter("inet", "fw", "pass", "forward", 0, DROP, TABLE % rule)
    assert (set(outcomes(one, OUT)), set(outcomes(one, BACK))) == expected


IPTABLES = {
    "-j ACCEPT": (YES, YES),
    "-i front -j ACCEPT": (YES, NO),
    "-i fr+ -j ACCEPT": (YES, MAYBE),
    "! -i front -j ACCEPT": (NO, YES),
    "-i front ! -o front -j ACCEPT": (YES, NO),
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT": (NO, YES),
    "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT": (NO, YES),
    "-m state ! --state NEW -j ACCEPT": (NO, YES),
    "-s 10.20.0.0/24 -j ACCEPT": (YES, MAYBE),
    "! -s 10.20.0.0/24 -j ACCEPT": (NO, MAYBE),
    "-p tcp -m tcp --dport 80:90 -j ACCEPT": (YES, MAYBE),
    "-p udp -j ACCEPT": (NO, NO),
    '-m comment --comment "-j DROP" -j ACCEPT': (YES, YES),
    "-m mark --mark 0x1 -j ACCEPT": (MAYBE, MAYBE),
    "-j more": (YES, YES),
    "-g less": (NO, NO),
    "-j LOG --log-prefix no": (NO, NO),
    "-j NFQUEUE --queue-num 0": (MAYBE, MAYBE),
}


@pytest.mark.parametrize(("rule", "expected"), IPTABLES.items(), ids=IPTABLES.keys())
def test_a_rule_of_the_iptables_of_old_is_judged(rule: str, expected: tuple[set[str], set[str]]) -> None:
    text = f"-P FORWARD DROP\n-N more\n-N less\n-A FORWARD {rule}\n-A more -j ACCEPT\n-A less -j RETURN\n"
    one = Filter("ip", "filter", "FORWARD", "forward", 0, DROP, text, legacy=True)
    assert (set(outcomes(one, OUT)), set(outcomes(one, BACK))) == expected


DISCOVERY = {
    "icmpv6 type nd-neighbor-solicit accept": (YES, NO),
    "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept": (YES, YES),
    "icmpv6 type != nd-neighbor-advert accept": (YES, NO),
    "icmpv6 type nd-router-solicit-nd-redirect accept": (MAYBE, MAYBE),
    "icmpv6 type @unheard accept": (MAYBE, MAYBE),
    "icmpv6 type echo-request accept": (NO, NO),
    "ip6 hoplimit 255 icmpv6 type { 135, 136 } accept": (YES, YES),
    "ip6 hoplimit != 255 accept": (NO, NO),
    "icmpv6 code no-route accept": (MAYBE, MAYBE),
    "meta l4proto ipv6-icmp accept": (YES, YES),
    "meta l4proto { icmp, ipv6-icmp } accept": (YES, YES),
    "meta l4proto icmp accept": (NO, NO),
    "icmp type echo-request accept": (NO, NO),
    "ct state untracked accept": (YES, YES),
    "ct state established,related,new accept": (NO, NO),
    "ct state vmap { invalid : drop, untracked : accept }": (YES, YES),
    "ct state vmap { invalid : drop, established : accept }": (NO, NO),
    "fib daddr type multicast accept": (MAYBE, MAYBE),
    'iifname "front" accept': (YES, YES),
    'oifname "front" accept': (NO, NO),
    "ip6 daddr fe80::/10 accept": (MAYBE, MAYBE),
    "tcp dport 22 accept": (NO, NO),
}


@pytest.mark.parametrize(("rule", "expected"), DISCOVERY.items(), ids=DISCOVERY.keys())
def test_what_has_neighbours_find_each_other_is_judged(rule: str, expected: tuple[set[str], set[str]]) -> None:
    one = Filter("inet", "fw", "pass", "input", 0, DROP, TABLE % rule)
    assert (set(outcomes(one, ASKS)), set(outcomes(one, ASKS._replace(discovery="136")))) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT", YES),
        ("-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT", NO),
        ("-p ipv6-icmp -j ACCEPT", YES),
        ("-m conntrack --ctstate UNTRACKED -j ACCEPT", YES),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", NO),
        ("-p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-lt 255 -j ACCEPT", MAYBE),
    ],
)
def test_the_iptables_of_old_has_its_own_words_for_that(rule: str, expected: set[str]) -> None:
    one = Filter("ip6", "filter", "INPUT", "input", 0, DROP, f"-P INPUT DROP\n-A INPUT {rule}\n", legacy=True)
    assert set(outcomes(one, ASKS)) == expected


def test_what_no_rule_speaks_of_is_up_to_the_policy() -> None:
    one = Filter("ip", "fw", "pass", "forward", 0, ACCEPT, TABLE % 'iifname "eth7" drop')
    assert set(outcomes(one, OUT)) == YES
    assert set(outcomes(one._replace(text=""), OUT)) == YES
    assert set(outcomes(one, Packet(4, oif="front"))) == MAYBE
    assert set(outcomes(one, Packet(4, oif="front", known=frozenset(["eth7"])))) == YES
