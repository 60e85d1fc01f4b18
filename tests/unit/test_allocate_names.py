"""MACs, interface names and routes of endpoints."""

from __future__ import annotations

from dataclasses import replace

from reconciler.naming import mac_address
from reconciler.networks import SandboxRef, StaticRoute
from reconciler.resources import Key, Link

from .allocation import FACTS, end, endpoint, manifest, net, network, problems, settled, standing

# --- MACs and interface names


def test_macs_derive_from_the_names_and_pinned_ones_are_taken() -> None:
    ends = {"web": [endpoint("front", mac_address="02:00:00:00:00:07")], "api": [endpoint("front")]}
    found = settled(manifest([network("front")], ends))
    assert end(found, "web/front").mac == "02:00:00:00:00:07"
    assert end(found, "api/front").mac == mac_address("shop", "api/front")


def test_a_derived_mac_is_never_one_that_is_pinned() -> None:
    pinned = mac_address("shop", "api/front")
    ends = {"web": [endpoint("front", mac_address=pinned)], "api": [endpoint("front")]}
    assert end(settled(manifest([network("front")], ends)), "api/front").mac != pinned


def test_interfaces_are_numbered_by_priority_and_then_as_declared() -> None:
    networks = [network(name) for name in ("a", "b", "c")]
    found = settled(manifest(networks, {"web": ["c", "a", endpoint("b", gw_priority=1)]}))
    names = {name: end(found, f"web/{name}").interface_name for name in ("a", "b", "c")}
    assert names == {"b": "eth0", "c": "eth1", "a": "eth2"}


def test_interfaces_in_a_process_namespace_stay_clear_of_dockers_names() -> None:
    found = settled(manifest([network("front")], {"web": ["front"]}, {"web": SandboxRef("pid", "4242")}))
    assert end(found, "web/front").interface_name == "net0"


def test_given_and_taken_interface_names_are_skipped() -> None:
    networks = [network(name) for name in ("a", "b")]
    facts = replace(FACTS, taken={Key("link", "web eth1"): "a dummy link"})
    found = settled(manifest(networks, {"web": [endpoint("a", interface_name="eth0"), "b"]}), facts)
    assert [end(found, f"web/{name}").interface_name for name in ("a", "b")] == ["eth0", "eth2"]


def test_an_interface_keeps_its_name() -> None:
    networks = [network(name) for name in ("a", "b")]
    before = settled(manifest(networks, {"web": ["a", "b"]}))
    after = settled(manifest(networks, {"web": ["b"]}), state=standing(before))
    assert end(after, "web/b").interface_name == "eth1"
    assert settled(manifest(networks, {"web": ["b", "a"]}), state=standing(after)) == before


def test_a_namespace_that_was_exchanged_starts_counting_anew() -> None:
    declared = manifest([network("a"), network("b")], {"web": ["b"]})
    elsewhere = standing(settled(manifest([network("a"), network("b")], {"web": ["a", "b"]})))
    link = elsewhere[Key("link", "web/b")]
    assert isinstance(link, Link)
    assert link.peer
    moved = replace(link, peer=replace(link.peer, sandbox="@17"))
    assert end(settled(declared, state={link.key: link}), "web/b").interface_name == "eth1"
    assert end(settled(declared, state={link.key: moved}), "web/b").interface_name == "eth0"


def test_an_interface_that_was_renamed_by_hand_gets_its_name_back() -> None:
    declared = manifest([network("front")], {"web": ["front"]})
    renamed = standing(settled(manifest([network("front")], {"web": [endpoint("front", interface_name="foo")]})))
    assert end(settled(declared, state=renamed), "web/front").interface_name == "eth0"


def test_a_name_that_a_leaving_interface_still_has_is_not_given_away() -> None:
    networks = [network(name) for name in ("a", "b", "c")]
    before = standing(settled(manifest(networks, {"web": ["a", "b"]})))
    after = settled(manifest(networks, {"web": ["a", "c"]}), state=before)
    assert end(after, "web/c").interface_name == "eth2"


# --- routes


def test_the_default_route_goes_by_the_highest_priority_then_by_name() -> None:
    networks = [network(name, enable_ipv6=True) for name in ("a", "b", "c")]
    found = settled(manifest(networks, {"web": ["c", "b", endpoint("a", gw_priority=-1)]}))
    assert [route.destination for route in end(found, "web/b").routes] == ["0.0.0.0/0", "::/0"]
    assert end(found, "web/a").routes == end(found, "web/c").routes == ()


def test_each_family_has_its_own_way_out() -> None:
    networks = [
        network("a", enable_ipv6=True, driver_opts={"gateway_mode_ipv4": "isolated"}),
        network("b", no_default_route=True),
        network("c", enable_ipv6=True, internal=True),
        network("d", metric=7),
    ]
    found = settled(manifest(networks, {"web": ["a", "b", "c", "d"]}))
    routes = {name: end(found, f"web/{name}").routes for name in "abcd"}
    assert [route.destination for route in routes["a"]] == ["::/0"]
    assert [(route.destination, route.metric) for route in routes["d"]] == [("0.0.0.0/0", 7)]
    assert routes["b"] == routes["c"] == ()


def test_the_routes_of_a_network_go_to_every_endpoint() -> None:
    route = StaticRoute("10.99.0.0/16", "10.20.0.9")
    found = settled(manifest([network("front", "10.20.0.0/24", routes=(route,))], {"a": ["front"], "b": ["front"]}))
    assert all(one.routes == (StaticRoute("0.0.0.0/0", "10.20.0.1"), route) for one in net(found, "front").endpoints)


def test_a_declared_default_route_stands_for_the_derived_one() -> None:
    route = StaticRoute("0.0.0.0/0", "10.21.0.9")
    networks = [network("a", "10.20.0.0/24"), network("b", "10.21.0.0/24", routes=(route,))]
    found = settled(manifest(networks, {"web": ["a", "b"]}))
    assert end(found, "web/a").routes == ()
    assert end(found, "web/b").routes == (route,)


def test_two_routes_to_one_place_are_an_error() -> None:
    networks = [network(name, routes=(StaticRoute("10.99.0.0/16"),)) for name in ("a", "b")]
    ((place, what),) = problems(manifest(networks, {"web": ["a", "b"]}))
    assert place == "networks/b/routes"
    assert "10.99.0.0/16 from network a and another one from b" in what
