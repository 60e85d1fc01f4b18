"""What `netapply explain` says beside routing rules of others for marked packets, and behind the main table's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler import engine
from reconciler.explain import SOMEWHERE, Situation, Way, end, explain, hooks, sender, situation
from reconciler.host import Rule
from reconciler.host.linux import LinuxHost
from tests.machine import REACHED_WITHIN, Machine
from tests.strategies import Document, manifest

SHOP: Document = {
    "project": "shop",
    "networks": {
        "front": {
            "ipam": {"config": [{"subnet": "10.60.0.0/24"}, {"subnet": "fd00:60::/64"}]},
            "driver_opts": {"name": "shop-front", "gateway_mode": "routed"},
        }
    },
    "containers": {"web": {"networks": {"front": {"ipv4_address": "10.60.0.10"}}}},
}
FAR = SOMEWHERE[4]


@pytest.fixture
def outside(host: Machine) -> str:
    """Whoever is outside, who has an address that only a default route leads to."""
    there = host.outside(default_route=False, routes=["10.60.0.0/16", "fd00:60::/64"])
    for address in (FAR, f"{SOMEWHERE[6]} nodad"):
        host.run(f"ip address add {address} dev lo", netns=there.name)
    acting = LinuxHost()
    engine.converge(manifest(SHOP), acting)
    acting.close()
    return there.ipv4


def _known() -> Situation:
    acting = LinuxHost()
    rules = acting.rules()
    known = situation(engine.plan(manifest(SHOP), acting), filters=acting.filters(hooks(rules)), rules=rules)
    acting.close()
    return known


def _said(start: str, target: str) -> Way:
    """Return what is said of IPv4."""
    known = _known()
    way, *_ = explain(sender(start, known.topology), end(target, known.topology), known).ways
    return way


def _meets(host: Machine, start: str, passes: bool) -> None:
    """Hold what is said against a ping."""
    within = REACHED_WITHIN if passes else 0.3
    assert host.ping("" if start == "host" else start, FAR, within=within) == passes


PRE = "nft 'add table inet fw; add chain inet fw pre {{ type filter hook {} priority -150; }}; add rule inet fw pre {}'"


@pytest.mark.parametrize(
    ("start", "marking", "verdict"),
    [
        ("web", "", "yes"),
        ("web", PRE.format("prerouting", "meta mark set 7"), "unknown"),
        ("web", PRE.format("prerouting", 'iifname "shop-front" meta mark set meta mark or 7 accept'), "unknown"),
        ("web", PRE.format("prerouting", "meta mark set ct mark"), "unknown"),
        ("web", PRE.format("prerouting", "meta mark set 8"), "yes"),
        ("web", PRE.format("prerouting", "ct mark set 7"), "yes"),
        ("web", PRE.format("prerouting", 'iifname "uplink" ct state new meta mark set 7'), "yes"),
        ("web", PRE.format("prerouting", "ip6 saddr fd00:60::/64 meta mark set 7"), "yes"),
        ("web", PRE.format("forward", "meta mark set 7"), "yes"),
        ("web", PRE.format("output", "meta mark set 7"), "yes"),
        ("web", "iptables-nft -t mangle -A PREROUTING -i shop-front -j MARK --set-mark 7", "unknown"),
        ("web", "iptables-nft -t mangle -A PREROUTING -i other0 -j MARK --set-mark 7", "yes"),
        ("web", "iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark", "unknown"),
        ("web", "iptables-legacy -t mangle -A PREROUTING -i shop-front -j MARK --set-mark 7", "unknown"),
        ("web", "iptables-legacy -t mangle -A PREROUTING -i shop-front -j MARK --set-mark 8", "yes"),
        ("host", "", "yes"),
        ("host", PRE.format("prerouting", 'iifname "shop-front" meta mark set 7'), "yes"),
        ("host", PRE.format("output", "meta mark set 7").replace("type filter", "type route"), "unknown"),
        ("host", "iptables-legacy -t mangle -A OUTPUT -j MARK --set-mark 7", "unknown"),
    ],
)
def test_a_rule_for_marked_packets_matters_where_somebody_may_mark_them(
    host: Machine, outside: str, start: str, marking: str, verdict: str
) -> None:
    for command in (f"ip route add default via {outside}", "ip rule add fwmark 7 lookup 99"):
        host.run(command)
    host.run("ip route add blackhole default table 99")
    if marking:
        host.run(["sh", "-c", marking])
    way = _said(start, "outside" if start == "web" else FAR)
    assert way.verdict == verdict, way.hops
    if verdict == "unknown":
        assert "its routing rule 32765: from all fwmark 0x7 lookup 99 goes ahead" in way.hops[-1].what
        assert way.hops[-1].what.endswith("may mark it so")
    _meets(host, start, verdict == "yes" or "ct mark" in marking or "CONNMARK" in marking)


def test_one_mark_among_others_is_told_from_them(host: Machine, outside: str) -> None:
    for command in (f"ip route add default via {outside}", "ip rule add fwmark 0x100/0xff00 lookup 99"):
        host.run(command)
    host.run("ip route add blackhole default table 99")
    host.run(["sh", "-c", PRE.format("prerouting", "meta mark set 0x2ff")])
    assert _said("web", "outside").verdict == "yes"
    _meets(host, "web", True)
    host.run("nft add rule inet fw pre meta mark set 0x1ff")
    assert _said("web", "outside").verdict == "unknown"
    _meets(host, "web", False)


DEFAULT = "default via {} table 1000"


@pytest.mark.parametrize(
    ("rules", "routes", "verdict"),
    [
        ([], [], "no"),
        (["lookup 1000"], [DEFAULT], "yes"),
        (["from 10.61.0.0/24 lookup 1000"], [DEFAULT], "no"),
        (["not from 10.61.0.0/24 lookup 1000"], [DEFAULT], "yes"),
        (["from 10.60.0.0/24 lookup 1000"], [DEFAULT], "yes"),
        (["fwmark 7 lookup 1000"], [DEFAULT], "no"),
        (["not fwmark 7 lookup 1000"], [DEFAULT], "yes"),
        (["iif shop-front lookup 1000"], [DEFAULT], "unknown"),
        (["lookup 1000 suppress_prefixlength 0"], [DEFAULT], "unknown"),
        (["prohibit", "lookup 1000"], [DEFAULT], "no"),
        (["lookup 1000", "prohibit"], [DEFAULT], "yes"),
        (["lookup 1000"], ["unreachable default table 1000"], "no"),
        (["lookup 1000"], ["throw default table 1000"], "no"),
        (["lookup 1000"], ["10.99.0.0/16 via {} table 1000"], "no"),
        (["lookup 1000"], [DEFAULT, "unreachable default metric 50"], "no"),
        ([], ["default via {} table default"], "yes"),
        (["lookup 1000"], ["default nexthop via {} weight 1 nexthop dev shop-front table 1000"], "unknown"),
    ],
)
def test_a_rule_behind_the_main_table_is_followed_where_that_has_no_route(
    host: Machine, outside: str, rules: Sequence[str], routes: Sequence[str], verdict: str
) -> None:
    for number, rule in enumerate(rules):
        host.run(f"ip rule add priority {40000 + number if 'default' not in rule else 32767} {rule}")
    for route in routes:
        words, _, table = route.format(outside).partition(" table ")
        host.run(f"ip route add {f'table {table} ' if table else ''}{words}")
    way = _said("web", "outside")
    assert way.verdict == verdict, way.hops
    if verdict == "unknown":
        assert "may send it by its routing rule 40000: from all" in way.hops[-1].what
    else:
        _meets(host, "web", verdict == "yes")


def test_what_the_host_sends_and_answers_goes_by_it_too(host: Machine, outside: str) -> None:
    assert _said("host", FAR).verdict == "no"
    _meets(host, "host", False)
    assert _said(FAR, "10.60.0.10").mend == "give the host a route"
    host.run("ip rule add priority 40000 lookup 1000")
    host.run(f"ip route add default via {outside} table 1000")
    assert _said("host", FAR).verdict == "yes"
    _meets(host, "host", True)
    assert _said(FAR, "10.60.0.10").verdict == "yes"
    assert host.ping("outside", "10.60.0.10", source=FAR)
    host.run("ip rule add priority 39999 from 203.0.113.1 prohibit")  # by which address it sends is not known yet
    assert _said("host", FAR).verdict == "unknown"


def test_rules_behind_the_main_table_are_read_with_their_links_and_what_it_drops_itself(
    host: Machine, outside: str
) -> None:
    for rule in ("40000 lookup 1000", "40001 prohibit", "40002 fwmark 1/3 lookup 1001", "40003 lookup main"):
        host.run(f"ip rule add priority {rule}")
    for route in (f"default via {outside} table 1000", "blackhole 10.9.0.0/16 table 1000", "prohibit 10.8.0.0/16"):
        host.run(f"ip route add {route}")
    acting = LinuxHost()
    assert acting.rules() == (
        Rule(4, 32766, "32766: from all lookup main", routes=("10.8.0.0/16",), links=("",)),
        Rule(4, 40000, "40000: from all lookup 1000", routes=("0.0.0.0/0", "10.9.0.0/16"), links=("uplink", "")),
        Rule(4, 40001, "40001: from all prohibit", routes=("0.0.0.0/0",), links=("",)),
    )
    acting.close()


def test_so_it_is_with_ipv6_whose_neighbours_ask_the_host_besides(host: Machine, outside: str) -> None:
    def met() -> tuple[str, bool]:
        known = _known()
        _, way = explain(end("web", known.topology), end("outside", known.topology), known).ways
        return way.verdict, host.ping("web", SOMEWHERE[6], within=REACHED_WITHIN if way.verdict == "yes" else 0.3)

    assert met() == ("no", False)
    host.run("ip -6 rule add priority 40000 lookup 1000")
    host.run("ip -6 route add default via 2001:db8:113::2 table 1000")
    assert met() == ("yes", True)
    host.run("ip -6 rule add fwmark 7 lookup 99")
    host.run("ip -6 route add blackhole default table 99")
    assert met() == ("yes", True)
    host.run(["sh", "-c", PRE.format("output", "meta mark set 7").replace("type filter", "type route")])
    host.run("ip -6 neigh flush dev shop-front")
    host.run("ip -6 neigh flush dev eth0", netns="web")
    assert met() == ("unknown", False)
