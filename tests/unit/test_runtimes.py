"""Containers of runtimes, from the manifest to the plan, on a host in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed, HostLacks, ManifestError
from reconciler.host import marks
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Space
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.networks import SandboxRef
from reconciler.report import json as report
from reconciler.report import text
from reconciler.report.content import Content
from reconciler.report.terminal import View
from reconciler.resources import ALIAS, Key, Link, Netns
from tests.strategies import new_host

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}, back: {ipam: {config: [{subnet: 10.20.1.0/24}]}}}
containers:
"""
WEB = "  web: {sandbox: {docker: shop-web}, networks: [front]}\n"


def manifest(*containers: str, head: str = SHOP) -> Manifest:
    return load(["-"], {}, io.StringIO(head + "".join(containers)))


def container(host: FakeHost, reference: str, pid: int) -> Space:
    """Start a container: a namespace, a process in it, and what its runtime says."""
    space = host.kernel.pids.setdefault(pid, host.kernel.space())
    host.kernel.set_up(space.devices["lo"], True)
    host.kernel.runtimes[reference] = pid
    return space


def stop(host: FakeHost, reference: str) -> None:
    """Stop a container that is alone in its namespace, which goes with it."""
    host.kernel.destroy(host.kernel.pids.pop(host.kernel.runtimes[reference]))
    host.kernel.runtimes[reference] = 0


@pytest.mark.parametrize(
    ("written", "reference", "words"),
    [
        ("docker: web", SandboxRef("docker", "web"), "docker:web"),
        ("docker: 1234567890", SandboxRef("docker", "1234567890"), "docker:1234567890"),
        (
            "podman: web, socket: /run/user/1000/podman/podman.sock",
            SandboxRef("podman", "web", details=(("socket", "/run/user/1000/podman/podman.sock"),)),
            "podman:web (socket /run/user/1000/podman/podman.sock)",
        ),
        (
            "containerd: web",
            SandboxRef("containerd", "web", details=(("namespace", "default"),)),
            "containerd:web (namespace default)",
        ),
        (
            "root: /run/x, oci: web, runtime: /usr/bin/youki",
            SandboxRef("oci", "web", details=(("runtime", "/usr/bin/youki"), ("root", "/run/x"))),
            "oci:web (runtime /usr/bin/youki, root /run/x)",
        ),
        ("machine: web", SandboxRef("machine", "web"), "machine:web"),
    ],
)
def test_a_sandbox_is_what_the_manifest_says(written: str, reference: SandboxRef, words: str) -> None:
    found = manifest(f"  web: {{sandbox: {{{written}}}, networks: [front]}}\n").containers["web"].sandbox
    assert found == reference
    assert str(found) == words


def test_one_name_on_two_sockets_is_two_containers() -> None:
    other = "  log: {sandbox: {docker: shop-web, socket: /run/other.sock}, networks: [front]}\n"
    assert len(manifest(WEB, other).containers) == 2


def test_a_container_is_attached_when_it_runs_and_pending_otherwise() -> None:
    host = new_host()
    assert engine.converge(manifest(WEB), host).pending == {"web": "there is no docker:shop-web"}
    container(host, "docker:shop-web", 7)
    assert engine.converge(manifest(WEB), host).pending == {}
    assert [*host.kernel.pids[7].devices] == ["lo", "net0"]
    assert not engine.plan(manifest(WEB), host).plan
    stop(host, "docker:shop-web")
    again = engine.converge(manifest(WEB), host)
    assert (again.pending, again.plan.changes) == ({"web": "there is no docker:shop-web"}, ())
    space = container(host, "docker:shop-web", 8)
    engine.converge(manifest(WEB), host)
    assert [*space.devices] == ["lo", "net0"]
    engine.destroy("shop", host)
    assert [*space.devices] == ["lo"]
    assert host.kernel.pids[8] is space


def test_the_plan_and_the_state_call_it_by_its_reference() -> None:
    host = new_host()
    container(host, "docker:shop-web", 7)
    wanted = manifest(WEB)
    proposal = engine.plan(wanted, host)
    content = Content("shop", proposal.plan, tuple(wanted.networks), tuple(wanted.containers), wanted.position)
    assert "+ endpoint web: net0 10.20.0." in text.plan(content, View())
    assert proposal.desired[Key("netns", "web")] == Netns("web", "docker:shop-web", adopted=True, loopback_up=True)
    assert "docker:shop-web" not in json.dumps(report.plan(content)), "nothing is to be made of it"


def test_default_names_are_none_that_a_runtime_gives() -> None:
    host = new_host()
    for kind in ("docker", "podman", "containerd", "oci", "machine"):
        wanted = manifest(f"  web: {{sandbox: {{{kind}: web}}, networks: [front, back]}}\n")
        reference = str(wanted.containers["web"].sandbox)
        space = container(host, reference, 7)
        host.kernel.add_link(space, "eth0", "veth", peer=(host.kernel.host, "vethdocker", None, None))
        engine.converge(wanted, host)
        assert sorted(space.devices) == ["eth0", "lo", "net0", "net1"]
        engine.destroy("shop", host)
        stop(host, reference)


def test_ipv6_is_turned_on_where_a_runtime_may_have_turned_it_off() -> None:
    head = 'project: shop\nnetworks: {front: {enable_ipv4: false, ipam: {config: [{subnet: "fd00:20::/64"}]}}}\n'
    head += "containers:\n"
    host = new_host()
    container(host, "docker:shop-web", 7)
    desired = engine.plan(manifest(WEB, "  db: {networks: [front]}\n", head=head), host).desired
    web, db = desired[Key("link", "web/front")], desired[Key("link", "db/front")]
    assert isinstance(web, Link)
    assert isinstance(db, Link)
    assert (web.sysctls, db.sysctls) == ({"ipv6.conf.disable_ipv6": "0"}, {})


@pytest.mark.parametrize("settings", ["", "sysctls: {net.ipv4.conf.IFNAME.rp_filter: 2}, "])
def test_names_may_be_as_long_as_the_mark_with_that_setting_allows(settings: str) -> None:
    network = "n" * 60
    head = f"project: {'p' * 50}\nnetworks: {{{network}: {{ipam: {{config: [{{subnet: 'fd00:20::/64'}}]}}}}}}\n"
    head += "containers:\n"

    def declared(name: str) -> Manifest:
        return manifest(f"  {name}: {{sandbox: {{docker: web}}, networks: {{{network}: {{{settings}}}}}}}\n", head=head)

    def mark(name: str) -> str:
        host = new_host()
        container(host, "docker:web", 7)
        link = engine.plan(declared(name), host).desired[Key("link", f"{name}/{network}")]
        assert isinstance(link, Link)
        return marks.alias_of("p" * 50, link)

    longest = "c" * (1 + 255 - len(mark("c")))
    assert len(mark(longest)) == 255
    with pytest.raises(ManifestError, match="256 bytes long, and the kernel keeps 255"):
        declared(longest + "c")


# --- several in one namespace


def pod(host: FakeHost) -> Space:
    """Two containers in one namespace."""
    space = container(host, "docker:shop-web", 7)
    host.kernel.runtimes["docker:shop-log"] = 7
    return space


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("[front]", "6:49: error: {}, and both are on network front; leave it to web"),
        ("{back: {interface_name: net5}}", "6:72: error: {}, and both call an interface net5; choose another"),
    ],
)
def test_what_two_in_one_namespace_cannot_both_have_is_an_error(log: str, expected: str) -> None:
    host = new_host()
    pod(host)
    web = "  web: {sandbox: {docker: shop-web}, networks: {front: {interface_name: net5}}}\n"
    wanted = manifest(web, f"  log: {{sandbox: {{docker: shop-log}}, networks: {log}}}\n")
    with pytest.raises(ManifestError) as caught:
        engine.plan(wanted, host)
    assert str(caught.value) == "-:" + expected.format("containers web and log are in one network namespace")


def test_two_in_one_namespace_share_names_and_the_default_route() -> None:
    host = new_host()
    space = pod(host)
    log = "  log: {sandbox: {docker: shop-log}, networks: {back: {gw_priority: 1}}}\n"
    engine.converge(manifest(WEB, log), host)
    assert sorted(space.devices) == ["lo", "net0", "net1"]
    assert [hop.via for hop in space.routes.values() if hop.destination == "0.0.0.0/0"] == ["10.20.1.1"]
    assert not engine.plan(manifest(WEB, log), host).plan
    engine.converge(manifest(WEB), host)
    assert [hop.via for hop in space.routes.values() if hop.destination == "0.0.0.0/0"] == ["10.20.0.1"]
    assert len(space.devices) == 2


def test_one_that_joins_later_renames_nobody() -> None:
    host = new_host()
    space = pod(host)
    engine.converge(manifest(WEB), host)
    assert [*space.devices] == ["lo", "net0"]
    report = engine.converge(manifest("  a: {sandbox: {docker: shop-log}, networks: [back]}\n", WEB), host)
    assert [(one.name, one.peer.alias) for one in space.devices.values() if one.peer] == [
        ("net0", "netapply:shop/web/front"),
        ("net1", "netapply:shop/a/back"),
    ]
    assert report.plan.counts[3] == 0


def test_one_that_joins_a_namespace_of_netapplys_own_takes_it_from_nobody() -> None:
    host = new_host()
    web, log = "  web: {networks: [front]}\n", "  log: {sandbox: {docker: shop-log}, networks: [back]}\n"
    engine.converge(manifest(web), host)
    host.kernel.pids[7], host.kernel.runtimes["docker:shop-log"] = host.kernel.names["web"], 7
    engine.converge(manifest(web, log), host)
    assert not engine.plan(manifest(web, log), host).plan
    space = host.kernel.names["web"]
    assert (sorted(space.devices), space.devices["lo"].alias) == (["eth0", "lo", "net0"], f"{ALIAS}shop/web")


def test_two_in_one_namespace_get_one_route_to_a_place() -> None:
    host = new_host()
    space = pod(host)
    log = "  log: {sandbox: {docker: shop-log}, networks: [back]}\n"

    def routed(*networks: str) -> Manifest:
        head = SHOP
        for name, third in (("front", 0), ("back", 1)):
            own = f"10.20.{third}.0/24}}]}}"
            routes = f", routes: [{{destination: 0.0.0.0/0, via: 10.20.{third}.9}}]" if name in networks else ""
            head = head.replace(own, own + routes)
        return manifest(WEB, log, head=head)

    with pytest.raises(ManifestError) as caught:
        engine.plan(routed("front", "back"), host)
    assert str(caught.value).partition("error: ")[2] == (
        "log and web, in one network namespace, get a route to 0.0.0.0/0 from network back and another one from front; "
        "give one of them a metric"
    )
    engine.converge(routed("front"), host)
    assert [hop.via for hop in space.routes.values() if hop.destination == "0.0.0.0/0"] == ["10.20.0.9"]


@pytest.mark.parametrize("other", ["alog", "xlog"])
def test_a_route_that_leads_nowhere_is_of_the_whole_namespace(other: str) -> None:
    head = SHOP.replace("10.20.1.0/24}]}", "10.20.1.0/24}]}, routes: [{destination: 192.0.2.0/24, type: blackhole}]")
    log = f"  {other}: {{sandbox: {{docker: shop-log}}, networks: [back]}}\n"
    host = new_host()
    space = pod(host)
    for members in ([WEB, log], [log], [WEB, log], [WEB]):
        engine.converge(manifest(*members, head=head), host)
        assert not engine.plan(manifest(*members, head=head), host).plan
        assert ("192.0.2.0/24" in {hop.destination for hop in space.routes.values()}) == (log in members)


# --- runtimes that don't say


def test_a_container_that_its_runtime_does_not_know_to_run_stays_where_its_endpoints_are() -> None:
    host = new_host()
    space = pod(host)
    engine.converge(manifest(WEB), host)
    host.kernel.runtimes["docker:shop-web"] = 0
    proposal = engine.plan(manifest(WEB), host)
    assert not proposal.plan.changes
    assert proposal.plan.notes == ("container web is taken to be where its endpoints are: there is no docker:shop-web",)
    with pytest.raises(HostLacks, match="container web: there is no docker:shop-web"):
        engine.plan(manifest(WEB), host, engine.Options(strict=True))
    host.kernel.set_up(space.devices["net0"], False)
    engine.converge(manifest(WEB), host)
    assert space.devices["net0"].up


def test_what_a_plugin_made_stays_in_a_container_that_its_runtime_does_not_know_to_run() -> None:
    host = new_host()
    pod(host)
    head = "project: shop\nnetworks: {front: {driver: cni, driver_opts: {conflist: {plugins: [{type: lab}]}}}}\n"
    head += "containers:\n"
    engine.converge(manifest(WEB, head=head), host)
    host.kernel.runtimes["docker:shop-web"] = 0
    assert not engine.plan(manifest(WEB, head=head), host).plan.changes


def test_a_container_that_was_removed_leaves_nothing_in_a_namespace_that_stays() -> None:
    host = new_host()
    space = pod(host)
    engine.converge(manifest(WEB), host)
    del host.kernel.runtimes["docker:shop-web"]
    assert engine.converge(manifest(WEB), host).pending
    assert [*space.devices] == ["lo"]


def test_a_container_in_the_hosts_own_namespace_can_be_on_a_host_network_only() -> None:
    host = new_host()
    host.kernel.pids[7] = host.kernel.host
    host.kernel.runtimes["docker:shop-web"] = 7
    with pytest.raises(ManifestError, match="container web is in the host's own network namespace"):
        engine.plan(manifest(WEB), host)
    head = "project: shop\nnetworks: {front: {driver: host}}\ncontainers:\n"
    assert not engine.plan(manifest(WEB, head=head), host).plan


def test_a_container_that_ends_meanwhile_is_not_missed_in_rolling_back() -> None:
    for at in range(40):
        host = new_host()
        container(host, "docker:shop-web", 7)
        operations = iter(range(1000))

        def trap(what: str, host: FakeHost = host, operations: Iterator[int] = operations, at: int = at) -> None:
            if next(operations) == at:
                stop(host, "docker:shop-web")

        host.trap = trap
        wanted = manifest(WEB, "  db: {networks: [front]}\n")
        before = [*host.kernel.host.devices], [*host.kernel.names]
        try:
            engine.converge(wanted, host)
        except ApplyFailed:
            assert ([*host.kernel.host.devices], [*host.kernel.names]) == before
        if next(operations) < at:
            return
    pytest.fail("it never ends")
