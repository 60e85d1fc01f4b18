"""What counts as disruptive."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
