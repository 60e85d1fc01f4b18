"""The host in memory itself: that it is strict, and honest about what there is.

That it is so in the kernel's way is for tests/kernel/test_conformance.py to show.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

import pytest

from reconciler import engine
from reconciler.errors import HostLacks, LockHeld
from reconciler.host import Host, Observation, Scope
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import MAX_PORTS, PORT, Hop
from reconciler.networks import SandboxRef
from reconciler.plan import Change, Create, Delete, Update
from reconciler.resources import Address, BridgeVlan, Key, Link, Netns, Peer, Resource, Sysctl
from tests.samples import ADDRESS, ADDRESS6, DEFAULT, DEFAULT6, FRONT, NOWHERE, WEB, WEB_FRONT, WEB_LAN
from tests.strategies import Document, Foreign, manifest, new_host, nft_table

SHOP: list[Resource] = [WEB, FRONT, WEB_FRONT, ADDRESS, ADDRESS6, DEFAULT, DEFAULT6]
SCOPE = Scope("shop", {"web": SandboxRef("netns", "web", create=True)})


def host_with(*resources: Resource) -> FakeHost:
    host = new_host()
    host.observe(SCOPE)
    assert errors(host, [Create(one) for one in resources]) == [0] * len(resources)
    host.observe(SCOPE)
    return host


def errors(host: FakeHost, changes: Sequence[Change]) -> list[int]:
    """Make the changes; return an errno for each, 0 for what was done."""
    return [error.errno if error else 0 for _, error in host.apply(changes)]


def keys(host: FakeHost, scope: Scope = SCOPE) -> set[str]:
    return {str(key) for key in host.observe(scope).state if key.kind != "sysctl"}


def test_it_is_a_host() -> None:
    host: Host = FakeHost()
    assert isinstance(host.observe(SCOPE), Observation)


def test_what_was_made_is_observed_with_what_the_kernel_picked() -> None:
    state = host_with(*SHOP).observe(SCOPE).state
    assert {str(one.key) for one in SHOP} == {str(key) for key in state if key.kind != "sysctl"}
    link = state[WEB_FRONT.key]
    assert isinstance(link, Link)
    assert link.mac is not None
    assert link == replace(WEB_FRONT, mac=link.mac, ipv6=True, peer=link.peer, port={**PORT, **WEB_FRONT.port})


@pytest.mark.parametrize(
    ("there", "change", "number"),
    [
        (SHOP, Create(WEB), errno.EEXIST),
        (SHOP, Create(FRONT), errno.EEXIST),
        (SHOP, Create(replace(WEB_FRONT, path="web/x", name="ve-x")), errno.EEXIST),
        (SHOP, Create(ADDRESS), errno.EEXIST),
        (SHOP, Create(Address("web/front", "fd00:20::10/48")), errno.EEXIST),
        (SHOP, Create(DEFAULT), errno.EEXIST),
        (SHOP, Create(replace(DEFAULT, via="10.20.0.7")), errno.EEXIST),
        ([nft_table("drop")], Create(nft_table("accept")), errno.EEXIST),
        ([], Create(WEB_FRONT), errno.ENOENT),
        ([], Create(NOWHERE), errno.ENOENT),
        ([WEB], Create(WEB_FRONT), errno.ENODEV),
        ([WEB], Create(replace(WEB_LAN, parent="/eth7")), errno.ENODEV),
        ([WEB], Create(ADDRESS), errno.ENODEV),
        ([WEB], Create(DEFAULT), errno.ENODEV),
        ([], Create(replace(WEB, adopted=True)), errno.ENOENT),
        ([], Create(replace(WEB, reference="pid:77")), errno.ENOENT),
        ([], Delete(WEB), errno.ENOENT),
        ([], Delete(FRONT), errno.ENODEV),
        ([WEB, FRONT, WEB_FRONT], Delete(ADDRESS), errno.EADDRNOTAVAIL),
        ([WEB], Delete(NOWHERE), errno.ESRCH),
        ([], Delete(nft_table("drop")), errno.ENOENT),
        ([], Delete(Sysctl("net.ipv4.ip_forward", "1")), errno.EOPNOTSUPP),
        ([], Update(FRONT, replace(FRONT, mtu=1400), ("mtu",)), errno.ENODEV),
        ([], Update(nft_table("drop"), nft_table("accept"), ("text",)), errno.ENOENT),
        ([WEB], Update(NOWHERE, replace(NOWHERE, type="prohibit"), ("type",)), errno.ENOENT),
        ([FRONT], Update(FRONT, replace(FRONT, mtu=60), ("mtu",)), errno.EINVAL),
        ([FRONT], Update(FRONT, replace(FRONT, name="sixteen-letters0"), ("name",)), errno.ERANGE),
        ([FRONT], Update(FRONT, replace(FRONT, name="eth0"), ("name",)), errno.EEXIST),
        ([FRONT], Update(FRONT, replace(FRONT, mac="01:00:00:00:00:01"), ("mac",)), errno.EADDRNOTAVAIL),
        ([FRONT], Update(FRONT, replace(FRONT, kind="vrf"), ("kind",)), errno.EOPNOTSUPP),
        ([WEB, WEB_LAN], Update(WEB_LAN, replace(WEB_LAN, mtu=1501), ("mtu",)), errno.EINVAL),
        ([WEB, WEB_LAN], Create(replace(WEB_LAN, path="web/x", name="x", options={"mode": "passthru"})), errno.EINVAL),
        ([WEB, FRONT, WEB_FRONT], Create(DEFAULT), errno.ENETUNREACH),
        ([WEB, FRONT, WEB_FRONT], Create(DEFAULT6), errno.EHOSTUNREACH),
    ],
)
def test_what_can_not_be_done_is_refused_with_the_kernels_number(
    there: Sequence[Resource], change: Change, number: int
) -> None:
    host = host_with(*there)
    host.kernel.live_rename = True
    if isinstance(change, Create) and isinstance(change.after, Link):
        assert errors(host, [change]) == [number]
        return
    before = host.snapshot()
    writes = host.writes
    assert errors(host, [change]) == [number]
    assert host.snapshot() == before
    assert host.writes == writes


def test_a_route_over_a_link_that_is_down_is_refused() -> None:
    down = replace(WEB_FRONT, peer=Peer("web", "eth0", up=False))
    host = host_with(WEB, FRONT, down)
    assert errors(host, [Create(replace(DEFAULT, via=None))]) == [errno.ENETDOWN]


def test_a_setting_that_the_kernel_does_not_know_is_something_that_the_host_lacks() -> None:
    host = host_with(WEB, FRONT)
    with pytest.raises(HostLacks, match=r"net\.ipv4\.nonsense"):
        list(host.apply([Create(Sysctl("net.ipv4.nonsense", "1"))]))
    with pytest.raises(HostLacks, match="nonsense"):
        list(host.apply([Create(replace(WEB_FRONT, sysctls={"ipv4.conf.nonsense": "1"}))]))


def test_a_bridge_has_1023_ports_and_no_more() -> None:
    host = host_with(FRONT)
    bridge, kernel = host.kernel.host.devices["shop-front"], host.kernel
    there = kernel.space()
    for number in range(MAX_PORTS):
        port = kernel.add_link(kernel.host, f"p{number}", "veth", peer=(there, f"q{number}", None, None))
        kernel.set_master(port, bridge)
    last = kernel.add_link(kernel.host, "last", "veth", peer=(there, "tsal", None, None))
    with pytest.raises(OSError, match="full") as refused:
        kernel.set_master(last, bridge)
    assert refused.value.errno == errno.EXFULL


def test_a_parent_can_not_be_a_port_and_a_port_no_parent() -> None:
    host = host_with(WEB, FRONT, WEB_LAN)
    kernel, devices = host.kernel, host.kernel.host.devices
    with pytest.raises(OSError, match="busy"):
        kernel.set_master(devices["eth0"], devices["shop-front"])
    kernel.set_master(devices["eth1"], devices["shop-front"])
    assert errors(host, [Create(replace(WEB_LAN, path="web/x", name="x", parent="/eth1"))]) == [errno.EBUSY]


def test_a_link_takes_its_other_end_its_addresses_and_its_routes_along() -> None:
    host = host_with(*SHOP)
    assert errors(host, [Delete(WEB_FRONT)]) == [0]
    assert keys(host) == {"netns web", "link front"}
    assert set(host.kernel.names["web"].devices) == {"lo"}


def test_a_bridge_lets_go_of_its_ports() -> None:
    host = host_with(*SHOP)
    assert errors(host, [Delete(FRONT)]) == [0]
    link = host.observe(SCOPE).state[WEB_FRONT.key]
    assert isinstance(link, Link)
    assert (link.master, link.port) == (None, {})


def test_a_parent_takes_its_macvlans_along() -> None:
    host = host_with(WEB, FRONT, replace(WEB_LAN, parent="front"))
    assert errors(host, [Delete(FRONT)]) == [0]
    assert keys(host) == {"netns web"}


def test_a_parents_mtu_lowers_that_of_its_macvlans() -> None:
    host = host_with(WEB, FRONT, replace(WEB_LAN, parent="front"))
    assert errors(host, [Update(FRONT, replace(FRONT, mtu=1300), ("mtu",))]) == [0]
    link = host.observe(SCOPE).state[WEB_LAN.key]
    assert isinstance(link, Link)
    assert link.mtu == 1300


def test_the_last_ipv4_address_takes_the_ipv4_routes_along() -> None:
    host = host_with(*SHOP)
    assert errors(host, [Delete(ADDRESS)]) == [0]
    assert "route web 0.0.0.0/0 metric 0" not in keys(host)
    assert "route web ::/0 metric 1024" in keys(host)


@pytest.mark.parametrize("live", [False, True])
def test_before_linux_6_2_a_renamed_link_goes_down_and_loses_routes_and_ipv6_addresses(live: bool) -> None:
    host = host_with(*SHOP)
    host.kernel.live_rename = live
    renamed = replace(WEB_FRONT, peer=Peer("web", "front0", mtu=1500))
    lost = {"address web/front fd00:20::10/64", "route web 0.0.0.0/0 metric 0", "route web ::/0 metric 1024"}
    before = keys(host)
    assert errors(host, [Update(WEB_FRONT, renamed, ("peer.name",))]) == [0]
    assert before - keys(host) == (set() if live else lost)


def test_a_change_of_some_fields_changes_no_others() -> None:
    host = host_with(WEB, FRONT, WEB_FRONT)
    other = replace(WEB_FRONT, mtu=1400, port={"isolated": False, "hairpin": True}, tags=("protect",))
    assert errors(host, [Update(WEB_FRONT, other, ("mtu", "port.hairpin"))]) == [0]
    link = host.observe(SCOPE).state[WEB_FRONT.key]
    assert isinstance(link, Link)
    assert (link.mtu, link.port, link.tags) == (1400, {**PORT, "isolated": True, "hairpin": True}, ())


def test_a_deleted_namespace_comes_back_with_all_that_was_in_it_until_it_is_let_go() -> None:
    host = host_with(WEB, NOWHERE)
    before = host.snapshot()
    assert errors(host, [Delete(WEB)]) == [0]
    assert keys(host) == set()
    assert errors(host, [Create(WEB)]) == [0]
    assert host.snapshot() == before
    assert errors(host, [Delete(WEB)]) == [0]
    host.release()
    assert errors(host, [Create(WEB)]) == [0]
    assert keys(host) == {"netns web"}


def test_a_namespace_that_is_let_go_takes_all_in_it_along() -> None:
    host = host_with(*SHOP)
    assert errors(host, [Delete(WEB)]) == [0]
    assert "ve-web" in host.kernel.host.devices
    host.release()
    assert "ve-web" not in host.kernel.host.devices


def test_a_namespace_with_a_process_in_it_is_busy_and_stays() -> None:
    host = host_with(WEB)
    host.kernel.pids[4242] = host.kernel.names["web"]
    netns = host.observe(SCOPE).state[WEB.key]
    assert isinstance(netns, Netns)
    assert netns.busy
    assert errors(host, [Delete(WEB)]) == [errno.EBUSY]


def test_a_failure_is_injected_at_one_operation_and_leaves_the_rest_half_made() -> None:
    host = host_with(WEB, FRONT)
    words: list[str] = []

    def trap(what: str) -> None:
        words.append(what)
        if len(words) == 2:
            raise OSError(errno.ENOBUFS, "No buffer space available")

    host.trap = trap
    assert errors(host, [Create(WEB_FRONT)]) == [errno.ENOBUFS]
    assert words == ["create link web/front"] * 2
    host.trap = None
    assert keys(host) == {"netns web", "link front", "link ?ve-web"}
    [half] = [one for key, one in host.observe(SCOPE).state.items() if key == Key("link", "?ve-web")]
    assert errors(host, [Delete(half), Create(WEB_FRONT)]) == [0, 0]


def test_what_requires_a_change_that_failed_is_not_made_with_it() -> None:
    host = host_with(FRONT)
    host.batch = 3
    vlan = BridgeVlan("front", 10)
    changes: list[Change] = [Update(FRONT, replace(FRONT, up=False), ("up",)), Create(vlan)]
    before = host.snapshot()
    host.trap = _refuse
    first = next(iter(host.apply(changes)))
    assert first.error is not None
    assert host.snapshot() == before


def _refuse(what: str) -> None:
    raise OSError(errno.EPERM, "refused")


def test_up_to_a_batch_of_changes_is_made_before_the_first_result_is_known() -> None:
    host = host_with(WEB)
    host.batch = 3
    back = replace(FRONT, path="back", name="br-back")
    results = host.apply([Create(FRONT), Create(FRONT), Create(back), Create(WEB_LAN)])
    assert next(results).error is None
    assert keys(host) == {"netns web", "link front", "link back"}


def test_of_two_links_with_one_mark_one_is_left_over() -> None:
    host = host_with(WEB, FRONT, WEB_FRONT)
    again = replace(WEB_FRONT, name="ve-2", peer=Peer("web", "eth9"))
    assert errors(host, [Create(again)]) == [0]
    assert keys(host) == {"netns web", "link front", "link web/front", "link ?ve-2"}


def test_what_others_have_is_not_in_the_state_but_in_the_way() -> None:
    host = new_host()
    Foreign(project=True).make(host)
    state, facts = host.observe(Scope("shop", {"web": SandboxRef("netns", "theirs", create=True)}))
    assert {key.kind for key in state} == {"sysctl"}
    assert {name: link.owner for name, link in facts.links.items() if link.owner} == {"other-net": "other"}
    assert {Key("link", " canary0"), Key("link", "web port0"), Key("netns", "web")} <= facts.taken.keys()


def test_an_address_that_somebody_else_gave_our_link_is_in_the_way_and_stays() -> None:
    host = host_with(*SHOP)
    inner = host.kernel.names["web"].devices["eth0"]
    host.kernel.add_address(inner, "10.99.0.1/24")
    state, facts = host.observe(SCOPE)
    key = Key("address", "web/front 10.99.0.1/24")
    assert key not in state
    assert key in facts.taken


def test_a_route_that_somebody_else_made_is_in_the_way() -> None:
    host = host_with(WEB)
    host.kernel.add_route(host.kernel.names["web"], Hop("192.0.2.0/24", 0, None, None, "blackhole"))
    state, facts = host.observe(SCOPE)
    assert NOWHERE.key not in state
    assert NOWHERE.key in facts.taken


def test_the_facts_are_those_of_the_host() -> None:
    facts = new_host().observe(SCOPE).facts
    assert facts.default_link == "eth0"
    assert facts.routes == ("192.0.2.0/24",)
    assert (facts.forwarding_ipv4, facts.forwarding_ipv6) == (False, False)
    assert set(facts.links) == {"lo", "eth0", "eth1", "eth2", "card0"}


def test_an_adopted_namespace_that_is_not_there_is_pending() -> None:
    host = new_host()
    scope = Scope("shop", {"a": SandboxRef("netns", "gone"), "b": SandboxRef("pid", "7"), "c": SandboxRef("host")})
    facts = host.observe(scope).facts
    assert set(facts.pending) == {"a", "b"}
    assert facts.in_host == {"c"}


def test_a_namespace_of_ours_that_no_manifest_names_goes_by_its_mark() -> None:
    host = host_with(*SHOP)
    assert "netns web" in keys(host, Scope("shop", {}))
    moved = host.observe(Scope("shop", {"web": SandboxRef("netns", "elsewhere", create=True)})).state
    [netns] = [one for one in moved.values() if isinstance(one, Netns)]
    assert netns.sandbox == "@web"
    assert netns.reference == "netns:web"


def test_of_two_links_with_one_mark_the_second_does_not_become_the_first_when_that_one_goes() -> None:
    host = new_host()
    for name in ("br1", "br2"):
        host.kernel.set_alias(host.kernel.add_link(host.kernel.host, name, "bridge"), "netapply:shop/front")
    both = host.observe(SCOPE).state
    assert {key.name for key in both if key.kind == "link"} == {"front", "?br2"}
    links = [one for one in both.values() if isinstance(one, Link)]
    assert errors(host, [Delete(one) for one in links]) == [0, 0]


def test_looking_changes_nothing() -> None:
    host = host_with(*SHOP)
    before, writes = host.snapshot(), host.writes
    assert host.observe(SCOPE) == host.observe(SCOPE)
    assert host.observe_near(SCOPE, {"web"}).keys() <= host.observe(SCOPE).state.keys()
    assert (host.snapshot(), host.writes) == (before, writes)


def test_a_desired_table_is_brought_into_the_form_in_which_it_is_listed() -> None:
    host = host_with()
    spaced = replace(nft_table("drop"), text=nft_table("drop").text.replace("\n", "  \n\n"))
    canonical = host.canonical({spaced.key: spaced})
    assert errors(host, [Create(spaced)]) == [0]
    assert host.observe(SCOPE).state[spaced.key] == canonical[spaced.key] == nft_table("drop")


def test_the_lock_is_held_by_one() -> None:
    host = new_host()
    with host.lock(1), pytest.raises(LockHeld), host.lock(1):
        pass
    with host.lock(1):
        assert host.locked
    assert not host.locked


def nowhere(project: str, number: int) -> Document:
    """A project with one container in a namespace that is not its own, and there a route to nowhere."""
    net = {
        "no_default_route": True,
        "ipam": {"config": [{"subnet": f"10.2{number}.0.0/24"}]},
        "routes": [{"destination": f"192.0.2.{number}/32", "type": "blackhole"}],
    }
    container = {
        "sandbox": {"netns": "theirs", "create": False},
        "networks": {"net": {"interface_name": f"if{number}"}},
    }
    return {"project": project, "networks": {"net": net}, "containers": {f"c{number}": container}}


def test_two_projects_in_one_namespace_leave_each_others_routes_to_nowhere_alone() -> None:
    host = new_host()
    Foreign().make(host)
    routes = host.kernel.names["theirs"].routes
    for document in (nowhere("one", 1), nowhere("two", 2)):
        engine.converge(manifest(document), host)
    assert not engine.plan(manifest(nowhere("one", 1)), host).plan
    engine.destroy("one", host)
    assert {"192.0.2.1/32", "192.0.2.2/32"} <= {destination for destination, _ in routes}
    engine.destroy("two", host)
    assert routes == {}
