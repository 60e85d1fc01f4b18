"""What counts as disruptive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.firewall import Zone, table
from reconciler.firewall.ports import publishing
from reconciler.networks import Publication, Target
from reconciler.plan import Create, Delete, Update
from reconciler.resources import Address, Link, NftTable, Peer
from reconciler.safety import is_disruptive

WEB = Link("web/front", "veth", "", "ve1", mtu=1500, master="front", peer=Peer("web", "eth0"))


@pytest.mark.parametrize(
    ("before", "fields", "disruptive"),
    [
        (WEB, ("mtu",), False),
        (WEB, ("peer.mac",), True),
        (WEB, ("peer.name",), True),
        (WEB, ("master",), True),
        (replace(WEB, master=None), ("master",), False),
        (replace(WEB, up=False), ("up",), False),
        (WEB, ("up",), True),
    ],
)
def test_an_update_is_disruptive_if_it_takes_something_away(
    before: Link, fields: tuple[str, ...], disruptive: bool
) -> None:
    assert is_disruptive(Update(before, WEB, fields)) is disruptive


def test_what_is_new_disrupts_nothing_and_what_goes_does() -> None:
    address = Address("web/front", "10.0.0.2/24")
    assert [is_disruptive(change) for change in (Create(address), Create(address, replaces=True), Delete(address))] == [
        False,
        True,
        True,
    ]
    assert not is_disruptive(Delete(NftTable("inet", "netapply-shop", "")))


ONE, OTHER = Target("10.20.0.10", 80), Target("10.20.0.11", 80)


@pytest.mark.parametrize(
    ("before", "after", "disruptive"),
    [
        ([ONE], [ONE, OTHER], False),
        ([ONE, OTHER], [ONE, OTHER._replace(weight=3)], False),
        ([ONE, OTHER], [ONE], True),
        ([ONE], [ONE._replace(port=81)], True),
        ([ONE], [], True),
    ],
)
def test_a_published_port_that_leads_elsewhere_is_disruptive_and_one_that_leads_to_more_is_not(
    before: list[Target], after: list[Target], disruptive: bool
) -> None:
    old, new = (
        table("shop", [Zone("front", "shop-front", ("10.20.0.0/24",))], [publishing(some, [])])
        for some in (
            [Publication("api", "tcp", None, 8080, tuple(targets))] if targets else [] for targets in (before, after)
        )
    )
    assert old
    assert new
    assert is_disruptive(Update(old, new, ("text",))) is disruptive
