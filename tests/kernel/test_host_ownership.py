"""What is the project's is found wherever it is, half-made or orphaned; what is somebody else's stays untouched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.networks import SandboxRef
from reconciler.resources import Key, Link, Netns, Resource, state
from tests.isolation import inside
from tests.machine import Machine

from .host_world import RESOURCES, SANDBOXES, World, everything, ip, make_uplink

GROUP = "7233904"


@pytest.fixture
def world() -> World:
    make_uplink()
    made = World()
    made.converge(everything())
    return made


def paths(world: World) -> set[str]:
    return {resource.path for resource in world.observe().state.values() if isinstance(resource, Link)}


# --- half-made


def test_a_half_made_pair_is_one_thing_and_is_removed(world: World) -> None:
    ip(f"link add half group {GROUP} type veth peer name other group {GROUP} netns web")
    assert paths(world) == {"front", "web/front", "db/front", "db/lan", "?half"}
    world.converge(everything())
    assert "other" not in ip("-n web link show")


def test_a_half_made_link_in_a_sandbox_is_removed(world: World) -> None:
    ip(f"link add half link uplink netns web group {GROUP} type macvlan")
    assert "?half@web" in paths(world)
    world.converge(everything())
    assert "half" not in ip("-n web link show")


def test_an_inner_end_without_a_mark_is_healed_and_not_replaced(world: World) -> None:
    index = ip("-n web -o link show eth0").partition(":")[0]
    ip("-n web link set eth0 down")
    subprocess.run(["ip", "-n", "web", "link", "set", "eth0", "alias", ""], check=True, timeout=10)
    world.converge(everything())
    assert ip("-n web -o link show eth0").partition(":")[0] == index
    assert "netapply:shop/web/front" in ip("-n web link show eth0")


def test_a_name_without_a_namespace_is_taken_over(host: Machine) -> None:
    make_uplink()
    Path("/run/netns/web").write_text("netapply:shop/web")  # killed before the mount
    world = World()
    assert Key("netns", "?web") in world.observe().state
    world.converge(everything())
    assert "web" in ip("netns list")


def test_a_name_without_a_namespace_is_removed_where_none_is_wanted() -> None:
    Path("/run/netns/web").write_text("netapply:shop/web")
    World().converge({})
    assert not Path("/run/netns/web").exists()


def test_a_file_of_somebody_else_among_the_names_is_left_alone() -> None:
    Path("/run/netns/notes").write_text("hers")
    world = World()
    assert not [key for key in world.observe().state if key.kind == "netns"]
    world.converge({})
    assert Path("/run/netns/notes").read_text() == "hers"


def test_of_two_links_with_one_mark_one_is_removed(world: World) -> None:
    ip("link add copy type bridge")
    ip("link set copy alias netapply:shop/front")
    world.converge(everything())
    assert ip("-o link show type bridge").count("netapply:shop/front") == 1


def test_links_that_a_killed_run_was_about_to_delete_are_put_back(world: World) -> None:
    ip("link set veweb group 7233905")
    ip("link set vedb mtu 1300")
    world.converge(everything())
    assert f"group {GROUP}" in ip("link show veweb")


# --- orphans


def test_containers_that_no_manifest_names_any_more_are_found_by_their_marks(world: World) -> None:
    later = World(sandboxes={})
    observed = later.observe().state
    assert {key for key in everything() if key.kind != "sysctl"} <= observed.keys()
    later.converge({})
    assert ip("netns list") == ""
    assert "netapply" not in ip("link show")


def test_links_in_namespaces_of_nobody_are_found_there(world: World, host: Machine) -> None:
    host.netns("elsewhere")
    everywhere = World(sandboxes={**SANDBOXES, "box": SandboxRef("netns", "elsewhere")})
    attached = state([*RESOURCES, _adopted("box", "netns:elsewhere"), _macvlan("box")])
    everywhere.converge(attached)
    (found,) = [one for key, one in World().observe().state.items() if key == ("link", "box/lan")]
    assert isinstance(found, Link)
    assert found.sandbox == "@elsewhere"
    World().converge(everything())
    assert "eth0" not in ip("-n elsewhere link show")


def _adopted(sandbox: str, reference: str) -> Netns:
    return Netns(sandbox, reference, adopted=True, loopback_up=None)


def _macvlan(sandbox: str) -> Link:
    return Link(f"{sandbox}/lan", "macvlan", sandbox, "eth0", parent="/uplink", options={"mode": "bridge"})


def test_a_container_in_the_namespace_of_a_process_is_attached_and_detached(host: Machine) -> None:
    make_uplink()
    pid = host.process()
    world = World(sandboxes={"box": SandboxRef("pid", str(pid))})
    wanted = state([_adopted("box", f"pid:{pid}"), _macvlan("box")])
    world.converge(wanted)
    assert World(sandboxes={}).converge({}).counts[2] == 1
    with inside(f"/proc/{pid}/ns/net"):
        assert "eth0" not in ip("link show")


def test_a_container_without_a_namespace_is_pending() -> None:
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    world = World(
        sandboxes={
            "a": SandboxRef("pid", str(gone)),
            "b": SandboxRef("netns", "missing"),
            "c": SandboxRef("netns", "made", create=True),
        }
    )
    pending = world.observe().facts.pending
    assert set(pending) == {"a", "b"}
    assert f"process {gone} does not run" in pending["a"]


def test_a_container_in_the_hosts_own_namespace_is_known_as_that(host: Machine) -> None:
    world = World(sandboxes={"a": SandboxRef("pid", str(os.getpid())), "b": SandboxRef("host")})
    with inside(None):  # where this process is does not matter
        pass
    main = SandboxRef("netns", "me")
    ip("netns attach me " + str(_sleeper(host)))
    observation = World(sandboxes={**world.sandboxes, "c": main}).observe()
    assert observation.facts.in_host >= {"b", "c"}
    assert not [key for key in observation.state if key.kind == "netns"]


def _sleeper(host: Machine) -> int:
    return host.start(["sleep", "60"]).pid


def test_an_adopted_namespace_loses_the_mark_and_stays(world: World) -> None:
    adopted = World(sandboxes={**SANDBOXES, "web": SandboxRef("netns", "web")})
    wanted: dict[Key, Resource] = {**everything(), Key("netns", "web"): _adopted("web", "netns:web")}
    adopted.converge(wanted)
    assert "netapply" not in ip("-n web link show lo")
    World(sandboxes={}).converge({})
    assert ip("netns list").split()[0] == "web"


def test_two_containers_may_be_in_one_namespace(host: Machine) -> None:
    make_uplink()
    host.netns("shared")
    world = World(sandboxes={name: SandboxRef("netns", "shared") for name in ("a", "b")})
    second = Link("b/lan", "macvlan", "b", "eth1", parent="/uplink", options={"mode": "bridge"})
    world.converge(
        state([_adopted("a", "netns:shared"), _adopted("b", "netns:shared"), _macvlan("a"), second]),
    )


# --- what belongs to others


def test_another_projects_objects_are_not_touched(world: World, host: Machine) -> None:
    other = World(project="blog", sandboxes={"web": SandboxRef("netns", "blog", create=True)})
    bridge = Link("front", "bridge", "", "blog-front")
    other.converge(state([Netns("web", "netns:blog"), bridge]))
    ip(f"link add half group {GROUP} type veth peer name eth0 group {GROUP} netns blog")
    ip("link set half alias netapply:blog/web/front")  # their inner end has no mark yet
    assert paths(world) == {"front", "web/front", "db/front", "db/lan"}
    facts = world.observe().facts
    assert (facts.links["blog-front"].owner, facts.links["uplink"].owner) == ("blog", None)
    assert facts.taken[Key("link", " blog-front")] == "a bridge link of project blog"
    world.converge({})
    assert "eth0" in ip("-n blog link show eth0")


def test_a_namespace_that_is_a_host_itself_is_not_searched_for_our_own(world: World, host: Machine) -> None:
    with inside(None):
        host.start(["sleep", "60"])
        inner = World(sandboxes={})
        inner.converge(state([Link("front", "bridge", "", "theirs")]))
        ip(f"link add half group {GROUP} type bridge")
        assert paths(inner) == {"front", "?half"}
    assert paths(world) == {"front", "web/front", "db/front", "db/lan"}


@pytest.mark.parametrize(
    ("commands", "key", "words"),
    [
        (["link add shop-front type bridge"], Key("link", " shop-front"), "a bridge link that netapply did not make"),
        (
            ["link add x type bridge", "link property add dev x altname shop-front"],
            Key("link", " shop-front"),
            "a bridge link that netapply did not make",
        ),
        (["netns add web"], Key("netns", "web"), "netns:web: it exists and netapply did not make it"),
        (
            ["netns add web", "-n web link set lo alias netapply:blog/web"],
            Key("netns", "web"),
            "netns:web: project blog made it",
        ),
        (
            ["netns add web", "-n web link add eth0 type bridge"],
            Key("link", "web eth0"),
            "a bridge link that netapply did not make",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(commands: list[str], key: Key, words: str) -> None:
    for command in commands:
        ip(command)
    assert words in World().observe().facts.taken[key]


def test_facts_are_the_hosts_and_not_the_projects(world: World) -> None:
    ip("route add 198.51.100.0/24 via 192.0.2.7")
    facts = world.observe().facts
    assert facts.default_link == "uplink"
    assert facts.routes == ("192.0.2.0/24", "198.51.100.0/24")
    assert facts.links["uplink"].addresses[0] == "192.0.2.1/24"
    assert {"uplink", "far", "lo"} == set(facts.links)
    assert (facts.forwarding_ipv4, facts.forwarding_ipv6) == (True, False)
    assert facts.accept_ra == ("far", "uplink")
