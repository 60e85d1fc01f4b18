"""Whatever is made on a Linux host is observed as it was wanted, and every field can be changed in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.plan import Create, Delete, Update
from reconciler.resources import Address, Key, Link, Peer, Resource, Route
from tests.isolation import inside
from tests.machine import Machine

from .host_world import World, changed, everything, ip, make_uplink, without

State = dict[Key, Resource]


@pytest.fixture
def world() -> World:
    """A host on which everything is as wanted."""
    make_uplink()
    made = World()
    made.converge(everything())
    return made


def test_all_that_is_made_is_observed_and_nothing_is_left_to_do(world: World) -> None:
    assert World().plan(everything()).changes == ()  # by another process just as well


def test_all_is_removed_again_and_nothing_else(host: Machine) -> None:
    make_uplink()
    ip("netns add theirs")
    before = host.snapshot()
    world = World()
    world.converge(without(everything(), ("sysctl", "net.ipv4.ip_forward")))
    world.converge({})
    world.host.release()
    assert host.snapshot() == before


def test_all_is_usable_by_ip_netns(world: World) -> None:
    assert "netapply:shop/web" in ip("-n web link show lo")
    assert {line.split()[0] for line in ip("netns list").splitlines()} == {"web", "db"}


def test_what_is_made_talks(world: World, host: Machine) -> None:
    world.converge(changed(everything(), "link", "web/front", port={"isolated": False, "hairpin": False}))
    assert host.ping("web", "10.20.0.11")
    assert host.ping("web", "10.20.0.1")


WEB = everything()[Key("link", "web/front")]
assert isinstance(WEB, Link)
assert WEB.peer is not None


def peer(**fields: object) -> Peer:
    from dataclasses import replace

    assert isinstance(WEB, Link)
    assert WEB.peer is not None
    return replace(WEB.peer, **fields)  # type: ignore[arg-type]


FIELDS: list[tuple[str, str, dict[str, object], tuple[str, ...]]] = [
    ("link", "front", {"mtu": 1300}, ("mtu",)),
    ("link", "front", {"mac": "02:00:00:00:00:99"}, ("mac",)),
    ("link", "front", {"up": False}, ("up",)),
    ("link", "front", {"ipv6": True}, ("ipv6",)),
    ("link", "front", {"name": "renamed"}, ("name",)),
    ("link", "front", {"tags": ("protect",)}, ("tags",)),
    ("link", "front", {"options": {"stp_state": True}}, ("options.stp_state",)),
    ("link", "front", {"options": {"forward_delay": 4}}, ("options.forward_delay",)),
    ("link", "front", {"options": {"mcast_snooping": False}}, ("options.mcast_snooping",)),
    ("link", "web/front", {"mtu": 1300}, ("mtu",)),
    ("link", "web/front", {"name": "other"}, ("name",)),
    ("link", "web/front", {"up": False}, ("up",)),
    ("link", "web/front", {"ipv6": True}, ("ipv6",)),
    ("link", "web/front", {"port": {"isolated": False}}, ("port.isolated",)),
    ("link", "web/front", {"port": {"hairpin": True}}, ("port.hairpin",)),
    ("link", "web/front", {"tags": ()}, ("tags",)),
    ("link", "web/front", {"master": "/bystander"}, ("master", "port.isolated", "port.hairpin")),
    ("link", "web/front", {"peer": peer(name="front0")}, ("peer.name",)),
    ("link", "web/front", {"peer": peer(mtu=1300)}, ("peer.mtu",)),
    ("link", "web/front", {"peer": peer(mac="02:00:00:00:00:98")}, ("peer.mac",)),
    ("link", "web/front", {"peer": peer(ipv6=False)}, ("peer.ipv6",)),
    (
        "link",
        "web/front",
        {"sysctls": {"ipv4.conf.rp_filter": "1", "ipv6.conf.accept_ra": "0"}},
        ("sysctls.ipv4.conf.rp_filter",),
    ),
    (
        "link",
        "web/front",
        {"sysctls": {"ipv4.conf.log_martians": "1", "ipv4.conf.rp_filter": "2"}},
        ("sysctls.ipv4.conf.log_martians", "sysctls.ipv6.conf.accept_ra"),
    ),
    ("link", "db/lan", {"options": {"mode": "bridge"}}, ("options.mode",)),
    ("link", "db/lan", {"options": {"bc_queue_len": 500}}, ("options.bc_queue_len",)),
    ("link", "db/lan", {"name": "lan0"}, ("name",)),
    ("link", "db/lan", {"mtu": 1400}, ("mtu",)),
    ("link", "db/lan", {"mac": "02:00:00:00:00:97"}, ("mac",)),
    ("link", "db/lan", {"ipv6": False}, ("ipv6",)),
    ("netns", "web", {"loopback_up": False}, ("loopback_up",)),
    ("route", "db 0.0.0.0/0 metric 5", {"via": "10.20.0.9"}, ("via",)),
    ("route", "db 10.98.0.0/16 metric 0", {"via": "10.20.0.9", "link": "db/front"}, ("via", "link")),
    ("route", "db 10.99.0.0/16 metric 7", {"type": "prohibit"}, ("type",)),
    ("route", "db fd99::/48 metric 1024", {"type": "blackhole"}, ("type",)),
    ("sysctl", "net.ipv4.ip_forward", {"value": "0"}, ("value",)),
]


@pytest.mark.parametrize(
    ("kind", "name", "fields", "differing"), FIELDS, ids=[f"{name} {differ[0]}" for _, name, _, differ in FIELDS]
)
def test_a_field_is_changed_in_place_and_back(
    world: World, kind: str, name: str, fields: dict[str, object], differing: tuple[str, ...]
) -> None:
    ip("link add bystander type bridge")
    links_before = ip("-o link show") + ip("-o -n web link show")
    after = changed(everything(), kind, name, **fields)
    plan = world.converge(after)
    (update,) = [change for change in plan.changes if change.key == (kind, name)]
    assert isinstance(update, Update)
    assert sorted(update.fields) == sorted(differing)
    world.converge(everything())
    assert _indexes(links_before) == _indexes(ip("-o link show") + ip("-o -n web link show"))


def _indexes(listing: str) -> list[str]:
    return [line.partition(":")[0] for line in listing.splitlines()]


def test_what_somebody_took_down_comes_up_again_with_all_that_it_carried(world: World) -> None:
    ip("-n web link set eth0 down")
    changes = world.converge(everything()).changes
    updated = {change.key.name: change.fields for change in changes if isinstance(change, Update)}
    assert updated == {"web/front": ("peer.up",)}
    assert {change.key.name for change in changes if isinstance(change, Create)} == {
        "web/front fd00:20::a/64",
        "web 0.0.0.0/0 metric 0",
        "web ::/0 metric 1024",
    }


def test_a_setting_that_is_wanted_no_more_gets_the_value_of_new_links(world: World, host: Machine) -> None:
    host.sysctl("net.ipv4.conf.default.rp_filter", "1", netns="web")
    world.converge(changed(everything(), "link", "web/front", sysctls={"ipv6.conf.accept_ra": "0"}))
    assert host.sysctl("net.ipv4.conf.eth0.rp_filter", netns="web") == "1"
    assert "rp_filter" not in ip("-n web link show eth0")


def test_the_kernel_makes_no_ipv6_addresses_where_none_are_wanted(world: World) -> None:
    assert "fe80" not in ip("-n db -6 addr show dev eth0") + ip("-6 addr show dev vedb")
    world.converge(changed(everything(), "link", "db/lan", ipv6=False))
    assert "fe80" not in ip("-n db -6 addr show dev eth1")
    world.converge(everything())
    assert "fe80" in ip("-n db -6 addr show dev eth1")


def test_deleting_the_first_address_of_a_subnet_leaves_the_others(world: World) -> None:
    world.converge(without(everything(), ("address", "db/front 10.20.0.11/24")))
    assert "10.20.0.12/24" in ip("-n db addr show dev eth0")


def test_a_lost_inner_end_is_made_again(world: World) -> None:
    ip("-n web link del eth0")
    plan = world.converge(everything())
    assert Key("link", "web/front") in {change.key for change in plan.changes if isinstance(change, Create)}


def test_a_pair_whose_inner_end_was_moved_elsewhere_is_replaced(world: World) -> None:
    ip("netns add elsewhere")
    ip("-n web link set eth0 netns elsewhere")
    world.converge(everything())
    assert "eth0" not in ip("-n elsewhere link show")


def test_a_link_that_somebody_renamed_is_found_by_its_mark(world: World) -> None:
    ip("link set veweb down")
    ip("link set veweb name hers")
    ip("link set hers up")
    ip("-n web link set eth0 down")
    ip("-n web link set eth0 name hers")
    changes = world.converge(everything()).changes
    assert [change.fields for change in changes if isinstance(change, Update)] == [("name", "peer.name", "peer.up")]


def test_before_linux_6_2_a_link_is_renamed_while_it_is_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.host.links.renames_live", lambda: False)
    changes = world.converge(changed(everything(), "link", "web/front", peer=peer(name="front0"))).changes
    assert [change.fields for change in changes if isinstance(change, Update)] == [("peer.name",)]


def test_many_links_are_deleted_and_their_neighbours_stay(host: Machine) -> None:
    make_uplink()
    ip("link add stranger type bridge")
    ip("link set stranger group 7233905 alias hers")  # the first scratch group is taken
    world = World()
    world.converge(everything())
    world.converge(without(everything(), *(key for key in everything() if key.kind in ("link", "address", "route"))))
    assert "stranger" in ip("link show stranger")


def test_a_deleted_namespace_comes_back_as_it_was(world: World) -> None:
    ip("-n web link add hers type veth peer name hers2")
    cookie = world.host._inventory.places["web"].cookie  # type: ignore[union-attr]
    bare = without(everything(), *(key for key in everything() if "web" in key.name))
    world.converge(bare)
    assert "web" not in ip("netns list")
    world.converge(everything())
    assert "hers" in ip("-n web link show hers")
    assert world.host._inventory.places["web"].cookie == cookie  # type: ignore[union-attr]


def test_a_namespace_with_a_process_in_it_is_not_deleted(world: World, host: Machine) -> None:
    with inside("web"):
        host.start(["sleep", "60"])
    state = world.observe().state
    assert state[Key("netns", "web")].busy  # type: ignore[union-attr]
    errors = [result.error for result in world.host.apply([Delete(state[Key("netns", "web")])])]
    assert "processes live in namespace web" in str(errors[0])
    assert "web" in ip("netns list")


def test_an_address_of_somebody_else_stays_and_stands_in_the_way(world: World) -> None:
    ip("-n web addr add 10.20.0.77/24 dev eth0")
    observation = world.observe()
    assert Key("address", "web/front 10.20.0.77/24") not in observation.state
    assert Key("address", "web/front 10.20.0.77/24") in observation.facts.taken
    world.converge(everything())
    assert "10.20.0.77" in ip("-n web addr show dev eth0")


def test_a_route_of_somebody_else_stays_and_stands_in_the_way(world: World) -> None:
    ip("-n web route add 10.77.0.0/16 via 10.20.0.7")
    observation = world.observe()
    assert Key("route", "web 10.77.0.0/16 metric 0") not in observation.state
    assert Key("route", "web 10.77.0.0/16 metric 0") in observation.facts.taken


WRONG: list[tuple[Callable[[State], State], str]] = [
    (lambda all_: changed(all_, "link", "db/lan", parent="/nothing"), "link nothing is not there (ENODEV)"),
    (
        lambda all_: {**all_, Key("a", "b"): Address("web/front", "10.20.0.10/24")},
        "address 10.20.0.10/24 of web/front: ",
    ),
    (
        lambda all_: {**all_, Key("a", "b"): Route("web", "10.50.0.0/16", "203.0.113.7", "web/front")},
        "route 10.50.0.0/16 of web: Nexthop has invalid gateway (ENETUNREACH)",
    ),
    (
        lambda all_: changed(all_, "link", "web/front", sysctls={"ipv4.conf.rp_filter": "much"}),
        "net.ipv4.conf.eth0.rp_filter can't be set to much: Invalid argument (EINVAL)",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_a_failure_names_its_object_and_the_kernels_reason(wrong: Callable[[State], State], words: str) -> None:
    make_uplink()
    assert words in "\n".join(map(str, World().attempt(wrong(everything()))))


def test_names_of_links_may_have_dots(world: World, host: Machine) -> None:
    world.converge(changed(everything(), "link", "web/front", peer=peer(name="eth0.20")))
    assert Path("/run/netns/web").exists()
    assert host.run("sysctl -n net.ipv4.conf.eth0/20.rp_filter", netns="web").stdout.strip() == "2"
