"""Links that stand on links: the host in memory does as the kernel does, and random manifests of them converge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from hypothesis import given, settings

from reconciler import engine
from reconciler.plan import Change
from reconciler.resources import HOST, Address, Link
from tests.kernel import test_conformance as conformance
from tests.kernel.test_conformance import DB, DB_LAN, WEB_LAN, change, gone, made
from tests.kernel.test_converge_random import apply, canaries, fresh
from tests.machine import Machine
from tests.samples import WEB
from tests.strategies import Document, manifest, pairs, unprotected

pytestmark = pytest.mark.needs_kernel("vlan", "ipvlan", "dummy")

VLAN = Link("#eth0.20", "vlan", HOST, "eth0.20", 1500, parent="/eth0", options={"id": 20}, ipv6=False)
ON_VLAN = replace(WEB_LAN, parent="#eth0.20")
DUMMY = Link("lan#parent", "dummy", HOST, "dm0", 1500, "02:00:00:00:00:0d", ipv6=False)
L2 = {"mode": "l2", "flag": "bridge"}
IPVLAN = Link("web/lan", "ipvlan", "web", "eth1", 1500, parent="/eth1", options=L2, ipv6=False)
OTHER = replace(IPVLAN, path="db/lan", sandbox="db")
DOWN = replace(DUMMY, up=False)

LISTS: dict[str, list[list[Change]]] = {
    "a VLAN is once on a base": [
        made(VLAN),
        made(replace(VLAN, path="#a", name="again"), replace(VLAN, path="#b", name="b", options={"id": 21})),
        made(replace(VLAN, path="#q", name="q", options={"id": 20, "protocol": "802.1ad"})),
    ],
    "a VLAN needs a number and a base": [
        made(replace(VLAN, options={}), replace(VLAN, parent="/eth9")),
    ],
    "a VLAN takes what stands on it along": [made(WEB, VLAN, ON_VLAN), gone(VLAN), gone(ON_VLAN)],
    "a VLAN is no larger than its base": [
        made(replace(VLAN, mtu=1501)),
        made(WEB, VLAN, ON_VLAN),
        change(VLAN, replace(VLAN, mtu=1501), "mtu"),
        change(VLAN, replace(VLAN, mtu=1300), "mtu"),
        change(VLAN, VLAN, "mtu"),
    ],
    "a VLAN can't be up on a base that is down": [
        made(DOWN, replace(VLAN, path="#torn", name="torn", parent="lan#parent")),
        made(replace(VLAN, parent="lan#parent", up=False, options={"id": 21})),
        change(DOWN, DUMMY, "up"),
        change(DUMMY, DOWN, "up"),
    ],
    "a dummy bears links, and goes with them": [made(DUMMY, WEB, replace(WEB_LAN, parent="lan#parent")), gone(DUMMY)],
    "macvlans and ipvlans don't go together, but with VLANs": [
        made(WEB, DB, IPVLAN, replace(DB_LAN, parent="/eth1")),
        made(replace(VLAN, parent="/eth1"), replace(DB_LAN, parent="#eth0.20")),
        gone(IPVLAN, replace(DB_LAN, parent="#eth0.20")),
        made(replace(DB_LAN, parent="/eth1"), IPVLAN),
    ],
    "what is a port bears VLANs alone": [
        made(WEB, replace(IPVLAN, parent="/canary-port0"), replace(VLAN, parent="/canary-port0")),
    ],
    "mode and flag are those of all on a parent": [
        made(WEB, DB, IPVLAN, replace(OTHER, options={"mode": "l3", "flag": "private"})),
        change(IPVLAN, replace(IPVLAN, options={"mode": "l3s"}), "options.mode"),
        change(IPVLAN, replace(IPVLAN, options={"flag": "vepa"}), "options.flag"),
    ],
    "an address is once among the ipvlans on a parent": [
        made(WEB, DB, IPVLAN, OTHER, Address("web/lan", "10.9.0.1/24"), Address("web/lan", "fd00:9::1/64")),
        made(*(Address("db/lan", one) for one in ("10.9.0.1/16", "fd00:9::1/64", "10.9.0.2/24", "fd00:9::2/64"))),
        made(*(Address("web/lan", one) for one in ("10.9.0.1/16", "10.9.0.1/24", "fd00:9::1/48"))),
        gone(Address("web/lan", "10.9.0.1/24")),
        made(Address("db/lan", "10.9.0.1/16")),
    ],
    "an ipvlan has its parent's MAC and follows its MTU": [
        made(WEB, VLAN, replace(IPVLAN, parent="#eth0.20")),
        change(IPVLAN, replace(IPVLAN, mac="02:00:00:00:00:66"), "mac"),
        change(VLAN, replace(VLAN, mtu=1400), "mtu"),
        change(VLAN, VLAN, "mtu"),
        change(VLAN, replace(VLAN, mac="02:00:00:00:00:77"), "mac"),
    ],
}


@pytest.mark.thorough
@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS.keys())
def test_the_host_in_memory_does_as_the_kernel_does(lists: list[list[Change]], host: Machine) -> None:
    conformance.test_both_hosts_do_the_same(lists, host)


@pytest.mark.thorough
@settings(max_examples=2)
@given(pair=pairs(stock=True))
def test_random_manifests_converge_and_leave_the_others_alone(
    pair: tuple[Document, Document], new_host: Callable[[], AbstractContextManager[Machine]]
) -> None:
    with fresh(new_host) as (host, process):
        around = canaries()
        for document in (*pair, pair[0]):
            apply(unprotected(manifest(document, process)), host)
            assert canaries() == around
        engine.destroy("shop", host)
        assert canaries() == around
