"""What firewalls of others would drop, by their chains as text, and `coexist` on the host in memory."""

from __future__ import annotations

import io

import pytest

from reconciler import engine
from reconciler.coexistence import obstacles, remarks
from reconciler.host import Filter
from reconciler.host.coexistence import ChainRow, chain_row
from reconciler.host.fake import FakeHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.ours import asking, forwarding
from reconciler.resources import Accepts, DnsServer, Key, Link, NftTable, state

LINKS = {4: ("shop-front", "shop-back"), 6: ("shop-front",)}

FIREWALLD = """table inet firewalld {
\tchain filter_FORWARD {
\t\ttype filter hook forward priority filter + 10; policy accept;
\t\tct state { established, related } accept
\t\tjump filter_FORWARD_ZONES
\t\treject with icmpx admin-prohibited
\t}

\tchain filter_FORWARD_ZONES {
\t\t%s
\t}
}
"""
UFW = """table ip filter {
\tchain ufw-user-forward {
\t}

\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t\tcounter jump ufw-user-forward
\t}
}
"""
DOCKER = """table ip filter {
\tchain DOCKER-USER {
\t\tcounter return
\t}

\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t\tcounter jump DOCKER-USER
\t}
}
"""


def said(one: Filter, *, asked: bool = False) -> str:
    return "\n".join(remarks([one], LINKS, asked))


def test_firewalld_is_told_which_links_to_trust() -> None:
    one = Filter("inet", "firewalld", "filter_FORWARD", "forward", 10, "accept", FIREWALLD % "goto filter_FWD_public")
    assert said(one) == (
        "the firewall chain inet firewalld filter_FORWARD (priority 10, its last rule is reject with icmpx"
        " admin-prohibited) drops what is forwarded for shop-back, shop-front; firewall-cmd --permanent --zone=trusted"
        " --change-interface=shop-back --change-interface=shop-front && firewall-cmd --reload"
    )
    zones = 'iifname "shop-back" goto filter_FWD_trusted\n\t\tiifname "shop-f*" goto filter_FWD_trusted'
    trusted = FIREWALLD % zones + "\n\tchain filter_FWD_trusted {\n\t\taccept\n\t}\n"
    assert not said(one._replace(text=trusted))


def test_ufw_is_told_what_to_route() -> None:
    one = Filter("ip6", "filter", "FORWARD", "forward", 0, "drop", UFW)
    assert said(one).endswith("; ufw route allow in on shop-front && ufw route allow out on shop-front")


def test_docker_is_asked_for_in_the_manifest_and_then_no_matter() -> None:
    one = Filter("ip", "filter", "FORWARD", "forward", 0, "drop", DOCKER)
    assert said(one).endswith("; say `coexist: docker` in the manifest, and netapply keeps accepts in DOCKER-USER")
    assert not said(one, asked=True)
    assert said(one._replace(table="other", text=""), asked=True)


def test_a_legacy_chain_is_opened_by_its_own_program() -> None:
    one = Filter(
        "ip", "filter", "FORWARD", "forward", 0, "drop", "-P FORWARD DROP\n-A FORWARD -i shop-b+ -j ACCEPT", True
    )
    assert said(one) == (
        "the firewall chain legacy ip filter FORWARD (priority 0, policy drop) drops what is forwarded for shop-front;"
        " iptables-legacy -I FORWARD -i shop-front -j ACCEPT && iptables-legacy -I FORWARD -o shop-front -j ACCEPT"
    )


@pytest.mark.parametrize("last", ["-j DROP", "-j REJECT --reject-with icmp-port-unreachable"])
def test_the_last_rule_of_a_legacy_chain_counts_as_that_of_others(last: str) -> None:
    one = Filter("ip", "filter", "FORWARD", "forward", 0, "accept", f"-P FORWARD ACCEPT\n-A FORWARD {last}", True)
    assert f"(priority 0, its last rule is {last}) drops what is forwarded for shop-back, shop-front" in said(one)
    assert not said(one._replace(text=f"-A FORWARD -s 192.0.2.1/32 {last}"))


@pytest.mark.parametrize(
    "one",
    [
        Filter("ip", "filter", "INPUT", "input", 0, "drop", DOCKER),
        Filter("ip", "fw", "pass", "forward", 0, "accept", "table ip fw {\n\tchain pass {\n\t}\n}\n"),
        Filter(
            "ip",
            "fw",
            "pass",
            "forward",
            0,
            "accept",
            "table ip fw {\n\tchain pass {\n\t\tip saddr 1.2.3.4 drop\n\t}\n}\n",
        ),
        Filter("bridge", "fw", "pass", "forward", 0, "drop", ""),
        Filter("inet", "fw", "pass", "forward", 0, "drop", "\tchain pass {\n\t\tiifgroup 7233904 accept\n\t}\n"),
    ],
)
def test_what_drops_nothing_of_ours_is_not_spoken_of(one: Filter) -> None:
    assert not obstacles([one], LINKS)


def test_only_the_families_that_are_forwarded_matter() -> None:
    assert not obstacles([Filter("ip6", "fw", "pass", "forward", 0, "drop")], {4: ("shop-front",)})
    table = NftTable(
        "inet", "netapply-shop", 'ipv4 . "shop-front" : goto into_nat,\n ipv6 . "shop-lab" : goto into_routed'
    )
    assert forwarding({table.key: table}) == {4: ("shop-front",), 6: ("shop-lab",)}


def test_a_chain_is_decoded() -> None:
    name, table = b"\x0c\0\x03\0FORWARD\0", b"\x0b\0\x01\0filter\0\0"
    hook = b"\x14\0\x04\x80\x08\0\x01\0\0\0\0\x02\x08\0\x02\0\xff\xff\xff\x38"
    policy = b"\x08\0\x05\0\0\0\0\0"
    assert chain_row(b"\x02\0\0\0" + table + name + hook + policy) == ChainRow(
        "ip", "filter", "FORWARD", "forward", -200, "drop"
    )
    assert chain_row(b"\x0a\0\0\0" + table + name) == ChainRow("ip6", "filter", "FORWARD")


SET = """\tset mine {
\t\telements = { "shop-back" }
\t}
"""
INPUT = """table ip filter {
\tchain DOCKER-USER {
\t\tiifname "shop-front" counter accept
\t}

\tset mine {
\t\telements = { "shop-back" }
\t}

\tchain own {
\t\tiifname @mine accept
\t}

\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t\tcounter jump own
\t}
}
"""


def test_an_input_chain_matters_to_who_asks_the_hosts_resolvers_and_only_what_it_comes_to_counts() -> None:
    one = Filter("ip", "filter", "INPUT", "input", 0, "drop", INPUT)
    assert not list(remarks([one], LINKS))
    assert list(remarks([one], LINKS, ports={5300: ("shop-back", "shop-front")})) == [
        "the firewall chain ip filter INPUT (priority 0, policy drop) drops what containers of shop-front ask the"
        " host's resolvers (port 5300); nft 'insert rule ip filter INPUT iifname { \"shop-front\" }"
        " meta l4proto { tcp, udp } th dport 5300 accept'"
    ]
    counted = one._replace(
        text=INPUT.replace("iifname @mine accept", "ip saddr 192.0.2.1 counter accept").replace(SET, "")
    )
    assert [said.partition("; ")[2] for said in remarks([counted], {}, ports={5300: ("shop-front",)})] == [
        "iptables-nft -I INPUT -i shop-front -p udp --dport 5300 -j ACCEPT"
        " && iptables-nft -I INPUT -i shop-front -p tcp --dport 5300 -j ACCEPT"
    ]
    mends = [
        next(remarks([one._replace(table=table, chain="in", text=text)], {}, ports={53: ("br0",)})).partition("; ")[2]
        for table, text in (("firewalld", ""), ("filter", "ufw-input"), ("fw", ""))
    ]
    assert mends == [
        "firewall-cmd --permanent --zone=trusted --change-interface=br0 && firewall-cmd --reload",
        "ufw allow in on br0 to any port 53",
        "nft 'insert rule ip fw in iifname { \"br0\" } meta l4proto { tcp, udp } th dport 53 accept'",
    ]


def test_who_asks_where_is_seen_in_what_is_desired() -> None:
    wanted = state([Link("front", "bridge", "", "shop-front"), DnsServer("front", ("front",), ("10.20.0.1",), 5300)])
    assert asking(wanted) == {5300: ("shop-front",)}


# --- on the host in memory


def manifest(tmp_path: object, word: str = "coexist: docker") -> Manifest:
    networks = "networks:\n  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}\n  in: {internal: true}\n"
    text = f"project: shop\n{word}\n{networks}"
    return load(["-"], stdin=io.StringIO(text))


KEY = Key("accepts", "ip filter DOCKER-USER")


def test_accepts_come_and_go_with_the_word_and_with_the_project(tmp_path: object) -> None:
    host = FakeHost()
    host.kernel.docker = {4: {"lab": ("-i lab-net -j ACCEPT",)}}
    before = dict(host.kernel.docker[4])
    engine.converge(manifest(tmp_path), host)
    assert host.kernel.docker[4]["shop"] == ("-i shop-front -j ACCEPT", "-o shop-front -j ACCEPT")
    assert not engine.plan(manifest(tmp_path), host).plan
    host.kernel.docker[4]["shop"] = ("-i shop-front -j DROP",)
    assert [one.key for one in engine.converge(manifest(tmp_path), host).plan.changes] == [KEY]
    engine.converge(manifest(tmp_path, ""), host)
    assert host.kernel.docker[4] == before
    engine.converge(manifest(tmp_path), host)
    engine.destroy("shop", host)
    assert host.kernel.docker[4] == before


def test_accepts_go_before_the_links_whose_tag_says_that_they_are_there(tmp_path: object) -> None:
    host = FakeHost()
    host.kernel.docker = {4: {}}
    engine.converge(manifest(tmp_path), host)
    kinds = [one.key.kind for one in engine.plan_destruction("shop", host).plan.changes]
    assert kinds.index("accepts") < kinds.index("link")


def test_without_dockers_chain_it_is_said_and_the_rest_converges(tmp_path: object) -> None:
    host = FakeHost()
    report = engine.converge(manifest(tmp_path), host)
    assert report.notes == (
        "coexist: docker: there is no chain DOCKER-USER, since Docker has not made it;"
        " a later run puts accepts into it",
    )
    assert not any(isinstance(getattr(one, "after", None), Accepts) for one in report.plan.changes)


def test_a_plan_says_what_others_drop(tmp_path: object) -> None:
    host = FakeHost()
    host.kernel.filters = [Filter("ip", "fw", "pass", "forward", 0, "drop")]
    (note,) = engine.plan(manifest(tmp_path, ""), host).plan.notes
    assert note.startswith(
        "the firewall chain ip fw pass (priority 0, policy drop) drops what is forwarded for shop-front;"
    )
