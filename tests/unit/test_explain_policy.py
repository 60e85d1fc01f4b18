"""What `netapply explain` makes of routing rules of others for marked packets, and of those behind the main table's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from reconciler import engine
from reconciler.explain import HOOKS, Situation, hooks, situation
from reconciler.host import MAIN_RULE, Filter, Rule
from tests.strategies import manifest, new_host

from .test_explain import asked
from .test_explain_names import NAMED


@pytest.fixture(scope="module")
def routed() -> Situation:
    """A host with a default route, and nothing that is not as it should be."""
    host, wanted = new_host(), manifest(NAMED)
    engine.converge(wanted, host)
    return situation(engine.plan(wanted, host))


@pytest.fixture(scope="module")
def routeless(routed: Situation) -> Situation:
    """The same without a route to anywhere."""
    links = {name: replace(one, routes=()) for name, one in routed.facts.links.items()}
    return replace(routed, facts=replace(routed.facts, links=links))


MARKED = Rule(4, 100, "100: from all fwmark 0x7 lookup 99", routes=("0.0.0.0/0",), mark=7, mask=0xFF)


def marking(rule: str, hook: str = "prerouting", family: str = "inet") -> Filter:
    return Filter(
        family, "fw", "pre", hook, -150, "accept", f"table {family} fw {{\n\tchain pre {{\n\t\t{rule}\n\t}}\n}}\n"
    )


def legacy(rule: str, family: str = "ip") -> Filter:
    return Filter(family, "mangle", "PREROUTING", "prerouting", -150, "accept", f"-A PREROUTING {rule}", legacy=True)


@pytest.mark.parametrize(
    ("start", "one", "verdict"),
    [
        ("web", marking("meta mark set 0x00000007"), "unknown"),
        ("web", marking("meta mark set 0x00000007 accept"), "unknown"),
        ("web", marking("meta mark set 0x00000107"), "unknown"),
        ("web", marking("meta mark set 0x00000008"), "yes"),
        ("web", marking("meta mark set meta mark | 0x00000008"), "unknown"),
        ("web", marking("ct mark set 0x00000007"), "yes"),
        ("web", marking("meta mark 0x00000007 accept"), "yes"),
        ("web", marking("tcp dport 80 meta mark set 0x00000007"), "unknown"),
        ("web", marking("ip saddr 10.99.0.0/16 meta mark set 0x00000007"), "unknown"),  # the answer's
        ("web", marking('iifname "other0" meta mark set 0x00000007'), "yes"),
        ("web", marking("meta mark set 0x00000007", family="ip6"), "yes"),
        ("web", marking("meta mark set 0x00000007", "forward"), "yes"),
        ("web", marking("meta mark set 0x00000007", "output"), "yes"),
        ("web", marking("meta mark set 0x00000007", "nat", "ip"), "unknown"),
        ("web", marking("meta mark set 0x00000007", "ingress"), "unknown"),
        ("web", marking("meta mark set 0x00000007", "netdev ingress", "netdev"), "unknown"),
        ("web", marking("meta mark set 0x00000007", "bridge prerouting", "bridge"), "unknown"),
        ("web", marking('counter packets 1 bytes 84 xt target "MARK"'), "unknown"),
        ("web", marking('counter packets 1 bytes 84 xt target "CONNMARK"'), "unknown"),
        ("web", legacy("-j MARK --set-xmark 0x7/0xffffffff"), "unknown"),
        ("web", legacy("-j MARK --set-xmark 0x8/0xffffffff"), "yes"),
        ("web", legacy("-j MARK --set-xmark 0x8/0xff"), "unknown"),
        ("web", legacy("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"), "unknown"),
        ("web", legacy("-i other0 -j MARK --set-xmark 0x7/0xffffffff"), "yes"),
        ("web", legacy("-j MARK --set-xmark 0x7/0xffffffff", "ip6"), "yes"),
        ("host", marking("meta mark set 0x00000007"), "yes"),
        ("host", marking("meta mark set 0x00000007", "output"), "unknown"),
        ("host", marking("meta mark set 0x00000007", "netdev ingress", "netdev"), "yes"),
    ],
)
def test_a_rule_for_a_mark_is_named_where_a_chain_may_set_it(
    start: str, one: Filter, verdict: str, routed: Situation
) -> None:
    answer = asked(start, "outside" if start == "web" else "203.0.113.9", replace(routed, rules=(MARKED,)))
    assert answer.verdict == "yes", "nobody marks"
    answer = asked(start, str(answer.target), replace(routed, rules=(MARKED,), filters=(one,)))
    assert answer.verdict == verdict
    if verdict == "unknown":
        said = f"its routing rule {MARKED.text} goes ahead of the main table, and the firewall chain {one.family}"
        assert f"may send it elsewhere: {said} {one.table} {one.chain} may mark it so" in answer.ways[0].hops[-1].what


def test_a_rule_for_all_that_is_not_marked_so_is_named_in_any_case(routed: Situation) -> None:
    others = MARKED._replace(inverted=True)
    for filters in ((), (marking("meta mark set 0x00000007"),)):
        assert asked("web", "outside", replace(routed, rules=(others,), filters=filters)).verdict == "unknown"


def test_chains_that_mark_are_looked_at_only_where_a_rule_is_for_marks() -> None:
    assert hooks([]) == hooks([MARKED._replace(mark=0)]) == HOOKS
    assert {*HOOKS, "prerouting", "netdev ingress"} < {*hooks([MARKED])}


BEHIND = Rule(4, 40000, "40000: from all lookup 1000", routes=("0.0.0.0/0",), links=("eth0",))
MAIN = Rule(4, MAIN_RULE, "32766: from all lookup main", routes=("198.51.100.0/24",), links=("",))


@pytest.mark.parametrize(
    ("start", "rules", "verdict"),
    [
        ("web", [], "no"),
        ("web", [BEHIND], "yes"),
        ("203.0.113.9", [BEHIND], "yes"),
        ("host", [BEHIND], "yes"),
        ("web", [MAIN, BEHIND], "yes"),
        ("web", [MAIN._replace(routes=("0.0.0.0/0",)), BEHIND], "no"),
        ("web", [BEHIND._replace(family=6)], "no"),
        ("web", [BEHIND._replace(links=("",))], "no"),
        ("web", [BEHIND._replace(links=("?",))], "unknown"),
        ("web", [BEHIND._replace(links=("gone",))], "unknown"),
        ("web", [BEHIND._replace(vague=True)], "unknown"),
        ("web", [BEHIND._replace(link="eth0")], "no"),
        ("web", [BEHIND._replace(protocol="udp")], "unknown"),
        ("web", [BEHIND._replace(source="10.20.0.0/24")], "yes"),
        ("host", [BEHIND._replace(source="10.20.0.0/24")], "unknown"),
        ("web", [BEHIND._replace(target="203.0.113.0/24")], "no"),
        ("web", [BEHIND._replace(mark=7, mask=7)], "no"),
        ("web", [BEHIND._replace(mark=7, mask=7, inverted=True)], "yes"),
        ("web", [BEHIND._replace(mark=7, mask=7), BEHIND._replace(priority=40001)], "yes"),
    ],
)
def test_a_rule_behind_the_main_table_is_followed_where_that_has_no_route(
    start: str, rules: Sequence[Rule], verdict: str, routeless: Situation
) -> None:
    targets = {"web": "outside", "host": "203.0.113.9"}
    answer = asked(start, targets.get(start, "api"), replace(routeless, rules=tuple(rules)))
    assert answer.verdict == verdict


def test_none_is_asked_where_the_main_table_has_a_route(routed: Situation) -> None:
    assert asked("web", "outside", replace(routed, rules=(BEHIND._replace(links=("",)),))).verdict == "yes"


def test_of_its_routes_the_longest_counts(routeless: Situation) -> None:
    one = BEHIND._replace(routes=("0.0.0.0/0", "203.0.113.0/24"), links=("eth0", ""))
    verdicts = [asked("host", aim, replace(routeless, rules=(one,))).verdict for aim in ("203.0.113.9", "192.0.2.200")]
    assert verdicts == ["no", "yes"]
