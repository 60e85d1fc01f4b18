"""What a plan says for a difference; that carrying it out makes the difference is for test_plan_properties to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from reconciler.plan import Create, Delete, Plan, diff
from reconciler.resources import (
    GUARD_TABLE,
    HOST,
    Address,
    Link,
    Netns,
    NftTable,
    Peer,
    Resource,
    Route,
    Sysctl,
    state,
)
from tests.samples import ADDRESS, ADDRESS6, DEFAULT, DEFAULT6, FRONT, GATEWAY, WEB, WEB_FRONT, WEB_LAN, deeds
from tests.strategies import nft_table

SHOP: tuple[Resource, ...] = (WEB, FRONT, WEB_FRONT, GATEWAY, ADDRESS, ADDRESS6, DEFAULT, DEFAULT6)


def plan(before: Iterable[Resource], after: Iterable[Resource]) -> Plan:
    return diff(state(list(after)), state(list(before)))


def without(*gone: Resource) -> list[Resource]:
    return [one for one in SHOP if one not in gone]


def test_nothing_to_do_is_an_empty_plan() -> None:
    assert not plan(SHOP, SHOP)
    assert plan(SHOP, SHOP).counts == (0, 0, 0, 0)


def test_what_the_kernel_picks_is_not_compared() -> None:
    have = replace(WEB_FRONT, mac="02:00:00:00:00:01", options={"x": 1}, port={**WEB_FRONT.port, "learning": True})
    assert not plan([*without(WEB_FRONT), have], SHOP)


def test_a_changed_mtu_is_an_update_in_place() -> None:
    assert deeds(plan(SHOP, [*without(FRONT), replace(FRONT, mtu=1400)]).changes) == ["~ link front mtu"]


def test_an_mtu_of_the_inner_end_is_named_by_its_end() -> None:
    inner = replace(WEB_FRONT, peer=Peer("web", "eth0", mtu=1400))
    assert deeds(plan(SHOP, [*without(WEB_FRONT), inner]).changes) == ["~ link web/front peer.mtu"]


def test_a_changed_kind_is_a_replacement_and_takes_its_addresses_and_routes_along() -> None:
    macvlan = Link("web/front", "macvlan", "web", "eth0", parent="/eth0", options={"mode": "bridge"})
    result = plan(SHOP, [*without(WEB_FRONT), macvlan])
    assert deeds(result.changes) == [
        "-! link web/front",
        "+! link web/front",
        "+! address web/front 10.20.0.10/24",
        "+! address web/front fd00:20::10/64",
        "+! route web 0.0.0.0/0 metric 0",
        "+! route web ::/0 metric 1024",
    ]
    assert result.counts == (0, 0, 0, 5)
    assert result.changes[1] == Create(macvlan, True, "kind can't be changed in place")


def test_ports_of_a_replaced_bridge_are_put_back_into_it_with_their_settings() -> None:
    result = plan(SHOP, [*without(FRONT), replace(FRONT, kind="vrf")])
    assert deeds(result.changes) == [
        "-! link front",
        "+! link front",
        "~ link web/front master,port.isolated,port.hairpin",
        "+! address front 10.20.0.1/24",
    ]


def test_a_port_that_moves_to_another_bridge_gets_its_settings_there() -> None:
    moved = plan(SHOP, [*without(WEB_FRONT), replace(WEB_FRONT, master="/br0")])
    assert deeds(moved.changes) == ["~ link web/front master,port.isolated,port.hairpin"]


def test_deleting_the_last_ipv4_address_brings_back_the_ipv4_routes_that_it_takes_along() -> None:
    result = plan(SHOP, [*without(ADDRESS), Address("web/front", "10.20.0.11/24")])
    assert deeds(result.changes) == [
        "-! route web 0.0.0.0/0 metric 0",
        "- address web/front 10.20.0.10/24",
        "+ address web/front 10.20.0.11/24",
        "+! route web 0.0.0.0/0 metric 0",
    ]


def test_deleting_one_of_two_addresses_leaves_the_routes_alone() -> None:
    second = Address("web/front", "10.20.0.11/24")
    assert deeds(plan([*SHOP, second], SHOP).changes) == ["- address web/front 10.20.0.11/24"]


def test_deleting_an_ipv6_address_leaves_the_routes_alone() -> None:
    result = plan(SHOP, [*without(ADDRESS6), Address("web/front", "fd00:20::11/64")])
    assert deeds(result.changes) == [
        "- address web/front fd00:20::10/64",
        "+ address web/front fd00:20::11/64",
    ]


def test_a_renamed_interface_loses_routes_and_ipv6_addresses_and_gets_them_back() -> None:
    renamed = replace(WEB_FRONT, peer=Peer("web", "front0", mtu=1500))
    assert deeds(plan(SHOP, [*without(WEB_FRONT), renamed]).changes) == [
        "-! route web ::/0 metric 1024",
        "-! route web 0.0.0.0/0 metric 0",
        "-! address web/front fd00:20::10/64",
        "~ link web/front peer.name",
        "+! address web/front fd00:20::10/64",
        "+! route web 0.0.0.0/0 metric 0",
        "+! route web ::/0 metric 1024",
    ]


def test_renaming_the_outer_end_costs_the_inner_one_nothing() -> None:
    assert deeds(plan(SHOP, [*without(WEB_FRONT), replace(WEB_FRONT, name="ve-new")]).changes) == [
        "~ link web/front name"
    ]


def test_swapped_interface_names_are_replaced_not_renamed_in_a_circle() -> None:
    swapped: list[Resource] = [
        WEB,
        FRONT,
        replace(WEB_FRONT, peer=Peer("web", "eth1", mtu=1500)),
        replace(WEB_LAN, name="eth0"),
    ]
    result = plan([WEB, FRONT, WEB_FRONT, WEB_LAN], swapped)
    assert deeds(result.changes) == ["-! link web/front", "-! link web/lan", "+! link web/lan", "+! link web/front"]


def test_a_name_that_goes_to_a_new_link_is_given_up_first() -> None:
    after: list[Resource] = [
        WEB,
        FRONT,
        replace(WEB_FRONT, peer=Peer("web", "eth9", mtu=1500)),
        replace(WEB_LAN, name="eth0"),
    ]
    result = plan([WEB, FRONT, WEB_FRONT], after)
    assert deeds(result.changes) == ["-! link web/front", "+ link web/lan", "+! link web/front"]
    assert "eth0 goes to web/lan" in [change.reason for change in result.changes if isinstance(change, Create)]


def test_macs_that_two_macvlans_swap_are_not_both_there_at_once() -> None:
    one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
    first, second = replace(WEB_LAN, mac=one), replace(WEB_LAN, path="web/dmz", name="eth2", mac=two)
    result = plan([WEB, first, second], [WEB, replace(first, mac=two), replace(second, mac=one)])
    assert deeds(result.changes) == ["-! link web/lan", "-! link web/dmz", "+! link web/dmz", "+! link web/lan"]


def test_of_two_reasons_to_be_replaced_it_is_always_the_same_that_is_told() -> None:
    """One link gives up its name to a second and its MAC to a third."""
    mac, other = "02:00:00:00:00:01", "02:00:00:00:00:02"
    have, want = replace(WEB_LAN, mac=mac), replace(WEB_LAN, name="eth9", mac=other)
    name = replace(WEB_LAN, path="web/back", mac="02:00:00:00:00:03")
    address = replace(WEB_LAN, path="db/lan", sandbox="db", mac=mac)
    wanted = [want, name, address]
    reasons = {
        change.reason
        for order in (wanted, wanted[::-1])
        for change in plan([WEB, have], [WEB, Netns("db", "netns:db"), *order]).changes
        if change.key == have.key and isinstance(change, Create)
    }
    assert reasons == {f"{mac} goes to db/lan"}


@pytest.mark.parametrize(("old", "new"), [("bridge", "passthru"), ("passthru", "private")])
def test_to_and_from_passthru_a_macvlan_is_replaced(old: str, new: str) -> None:
    before, after = (replace(WEB_LAN, options={"mode": mode}) for mode in (old, new))
    assert deeds(plan([WEB, before], [WEB, after]).changes) == ["-! link web/lan", "+! link web/lan"]


def test_another_mode_of_a_macvlan_is_an_update() -> None:
    after = replace(WEB_LAN, options={"mode": "private"})
    assert deeds(plan([WEB, WEB_LAN], [WEB, after]).changes) == ["~ link web/lan options.mode"]


def test_a_lost_inner_end_is_replaced() -> None:
    assert deeds(plan([WEB, FRONT, replace(WEB_FRONT, peer=None)], [WEB, FRONT, WEB_FRONT]).changes) == [
        "-! link web/front",
        "+! link web/front",
    ]


def test_a_route_that_moves_to_another_link_is_changed_in_place() -> None:
    lan: list[Resource] = [WEB_LAN, Address("web/lan", "10.30.0.10/24")]
    moved = replace(DEFAULT, via="10.30.0.1", link="web/lan")
    assert deeds(plan([*SHOP, *lan], [*without(DEFAULT), *lan, moved]).changes) == [
        "~ route web 0.0.0.0/0 metric 0 via,link"
    ]


def test_a_route_that_goes_with_its_old_link_is_made_again_on_the_new_one() -> None:
    lan: list[Resource] = [WEB_LAN, Address("web/lan", "10.30.0.10/24")]
    moved = replace(DEFAULT, via="10.30.0.1", link="web/lan")
    result = plan([*SHOP, *lan], [WEB, FRONT, GATEWAY, *lan, moved])
    assert deeds(result.changes) == ["- link web/front", "+! route web 0.0.0.0/0 metric 0"]


def test_a_route_that_loses_its_next_hop_is_an_update() -> None:
    assert deeds(plan(SHOP, [*without(DEFAULT), replace(DEFAULT, via=None)]).changes) == [
        "~ route web 0.0.0.0/0 metric 0 via"
    ]


def test_a_route_that_leads_nowhere_now_is_an_update() -> None:
    after = replace(DEFAULT, via=None, link=None, type="blackhole")
    assert deeds(plan(SHOP, [*without(DEFAULT), after]).changes) == ["~ route web 0.0.0.0/0 metric 0 via,link,type"]


def test_deletes_come_first_and_namespaces_last() -> None:
    db = (Netns("db", "netns:db"), replace(WEB_FRONT, path="db/front", name="ve-db", peer=Peer("db", "eth0")))
    new = (Netns("api", "netns:api"), replace(WEB_FRONT, path="api/front", name="ve-api", peer=Peer("api", "eth0")))
    result = plan([*SHOP, *db], [*SHOP, *new])
    assert deeds(result.changes) == ["- link db/front", "+ netns api", "+ link api/front", "- netns db"]


def test_the_firewall_comes_before_what_it_guards() -> None:
    result = plan([], [*SHOP, nft_table("drop"), Sysctl("net.ipv4.ip_forward", "1")])
    assert deeds(result.changes)[:3] == [
        "+ nft inet netapply-shop",
        "+ sysctl net.ipv4.ip_forward",
        "+ netns web",
    ]


def test_the_firewall_goes_after_what_it_guards() -> None:
    assert deeds(plan([*SHOP, nft_table("drop")], []).changes)[-2:] == ["- nft inet netapply-shop", "- netns web"]


def test_what_goes_with_its_link_needs_no_deletion_of_its_own() -> None:
    assert deeds(plan(SHOP, []).changes) == ["- link web/front", "- link front", "- netns web"]


def test_a_busy_namespace_stays_and_is_noted() -> None:
    result = plan([replace(WEB, busy=True), *without(WEB)], [])
    assert deeds(result.changes) == ["- link web/front", "- link front"]
    assert result.notes == ("namespace netns:web stays until the processes in it have ended; a later run removes it",)


def test_an_adopted_namespace_stays_and_nothing_is_said() -> None:
    assert plan([replace(WEB, adopted=True, busy=True)], []) == Plan()


def test_routes_to_nowhere_are_deleted_from_a_namespace_that_stays() -> None:
    nowhere = Route("web", "192.0.2.0/24", type="blackhole")
    assert deeds(plan([replace(WEB, adopted=True), nowhere], []).changes) == ["- route web 192.0.2.0/24 metric 0"]


def test_a_route_to_nowhere_that_may_be_another_projects_stays_but_for_one_that_a_failed_run_has_made() -> None:
    route = Route("web", "192.0.2.0/24", type="blackhole", shared=True)
    desired, observed = state([replace(WEB, adopted=True)]), state([replace(WEB, adopted=True), route])
    assert not diff(desired, observed)
    assert deeds(diff(desired, observed, exact=True).changes) == ["- route web 192.0.2.0/24 metric 0"]


def test_sysctls_are_never_deleted() -> None:
    assert not plan([Sysctl("net.ipv4.ip_forward", "1")], [])


def test_the_guard_of_the_whole_host_is_never_deleted() -> None:
    assert not plan([NftTable("inet", GUARD_TABLE, "")], [])


def test_rolling_back_removes_the_guard_that_the_failed_run_has_made() -> None:
    guard = NftTable("inet", GUARD_TABLE, "")
    assert diff({}, state([guard]), exact=True).changes == (Delete(guard),)


def test_rolling_back_takes_a_link_out_of_a_bridge_where_it_was_in_none() -> None:
    loose = replace(WEB_FRONT, master=None, port={})
    back = diff(state([WEB, FRONT, loose]), state([WEB, FRONT, WEB_FRONT]), exact=True)
    assert deeds(back.changes) == ["~ link web/front master"]


def test_a_sysctl_that_is_no_longer_wanted_on_a_link_is_taken_back() -> None:
    before, after = replace(WEB_FRONT, sysctls={"ipv4.conf.rp_filter": "2"}), WEB_FRONT
    assert deeds(plan([WEB, FRONT, before], [WEB, FRONT, after]).changes) == [
        "~ link web/front sysctls.ipv4.conf.rp_filter"
    ]


def test_what_only_the_firewall_keeps_from_doing_harm_is_taken_back_before_the_firewall_changes() -> None:
    opened = replace(FRONT, sysctls={"ipv4.conf.route_localnet": "1"})
    result = plan([WEB, opened, WEB_FRONT, nft_table("drop")], [WEB, FRONT, WEB_FRONT, nft_table("accept")])
    assert deeds(result.changes) == ["~ link front sysctls.ipv4.conf.route_localnet", "~ nft inet netapply-shop text"]
    result = plan([WEB, FRONT, WEB_FRONT, nft_table("accept")], [WEB, opened, WEB_FRONT, nft_table("drop")])
    assert deeds(result.changes) == ["~ nft inet netapply-shop text", "~ link front sysctls.ipv4.conf.route_localnet"]


def test_links_that_stand_on_each_other_in_a_circle_are_refused() -> None:
    one = Link("one", "macvlan", HOST, "one", parent="two")
    with pytest.raises(ValueError, match="circle"):
        plan([], [one, replace(one, path="two", name="two", parent="one")])
