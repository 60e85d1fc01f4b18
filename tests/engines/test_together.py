"""Containers of Docker, Podman and crun, and namespaces with no container, on one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import pytest

from . import firewalls
from . import lab as labs
from .conftest import left
from .docker import DOCKER, SOCKET, Docker
from .firewalls import OUTSIDE
from .lab import Lab
from .oci import Runtime
from .podman import Podman

FAMILIES = (4, 6)

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  a: {sandbox: {docker: shop-a}, networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  b: {sandbox: {podman: shop-b}, networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
  c: {sandbox: {oci: shop-c}, networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}}
  d: {networks: {front: {ipv4_address: 10.20.0.14, ipv6_address: "fd00:20::14"}}}
"""


@pytest.fixture(params=[False, True], ids=["bridge-nf-0", "bridge-nf-1"])
def bridge_nf(request: pytest.FixtureRequest, lab: Lab) -> None:
    """Runs the test twice, with bridged packets kept from the firewall and passed to it."""
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        lab.run(["sh", "-c", f"echo {int(request.param)} > /proc/sys/net/bridge/{name}"])


@pytest.fixture
def crun(lab: Lab, tmp_path: Path) -> Runtime:
    """crun, with a root file system of its own for its containers."""
    if reason := labs.missing("runc", "crun", "busybox"):
        pytest.skip(reason)
    return Runtime(lab, labs.rootfs(tmp_path / "root"), "crun")


def test_containers_of_all_engines_reach_each_other(
    docker: Docker, podman: Podman, crun: Runtime, bridge_nf: None
) -> None:
    lab: Lab = docker.lab
    places: dict[str, int | str] = {"a": docker.run("shop-a"), "b": podman.run("shop-b"), "d": "d"}
    places["c"] = crun.run("shop-c")
    try:
        lab.netapply(lab.manifest(SHOP))
        addresses = {name: (f"10.20.0.1{place}", f"fd00:20::1{place}") for place, name in enumerate("abcd", 1)}
        for one, other in permutations(places, 2):
            for own, far in zip(addresses[one], addresses[other], strict=True):
                assert lab.tcp(places[one], places[other], far) == own, f"{one} to {other} at {far}"
        assert all(lab.ping(place, "10.20.0.1") for place in places.values())
        assert "nothing to do" in lab.netapply(lab.manifest(SHOP))
        lab.netapply("destroy", lab.manifest(SHOP))
        assert [lab.links(place) for name, place in places.items() if name != "d"] == [[], [], []]
        assert not [name for name in lab.links() if name.startswith("shop")]
    finally:
        crun("delete", "--force", "shop-c")
        lab.run(["rm", "-rf", str(lab.folder / "bundle-shop-c")])


def test_without_both_daemons_everybody_stays_attached(docker: Docker, podman: Podman) -> None:
    """Docker's containers live on without it where it is told so (live-restore), Podman's always do."""
    lab = docker.lab
    a, b = docker.run("shop-a"), podman.run("shop-b")
    lab.netapply(lab.manifest(SHOP))
    podman.stop_service()
    docker.pause_daemon()
    try:
        said = lab.netapply(lab.manifest(SHOP))
        assert "nothing to do" in said
        assert "container a is taken to be where its endpoints are: Docker (/run/docker.sock) did not answer" in said
        assert (
            "container b is taken to be where its endpoints are: Podman (/run/podman/podman.sock) is not there" in said
        )
        assert lab.tcp(a, b, "10.20.0.12") == "10.20.0.11"
    finally:
        docker.resume_daemon()
        podman.start_service()
    assert "taken to be" not in lab.netapply(lab.manifest(SHOP))


PUBLISHED = """
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  a:
    sandbox: {docker: shop-a}
    networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}
    ports: ["8081:80"]
  b:
    sandbox: {podman: shop-b}
    networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}
    ports: ["8082:80"]
  c:
    sandbox: {oci: shop-c}
    networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}
    ports: ["8083:80"]
services:
  api-a: {network: front, containers: [a], vip: [10.20.0.201, "fd00:20::201"], ports: ["9081:80"]}
  api-b: {network: front, containers: [b], vip: [10.20.0.202, "fd00:20::202"], ports: ["9082:80"]}
  api-c: {network: front, containers: [c], vip: [10.20.0.203, "fd00:20::203"], ports: ["9083:80"]}
"""
OWN = {"a": ("10.20.0.11", "fd00:20::11"), "b": ("10.20.0.12", "fd00:20::12"), "c": ("10.20.0.13", "fd00:20::13")}
"""The addresses of the containers that serve, by family."""


@pytest.fixture(scope="module")
def outside(lab: Lab) -> None:
    firewalls.outside(lab)
    labs.wait("the world", lambda: lab.ping("outside", OUTSIDE.host_ipv6) and lab.ping("outside", OUTSIDE.host_ipv4))


def see_who_asks(lab: Lab, pids: dict[str, int]) -> None:
    """Fetch pages of containers of all engines by published ports from outside, and by virtual IPs from each other."""
    for number, (name, pid) in enumerate(pids.items(), 1):
        far = "abc"[number % 3]
        fetch = ["nsenter", f"--net=/proc/{pids[far]}/ns/net", "--", "/bin/busybox"]
        vips = (f"10.20.0.20{number}", f"[fd00:20::20{number}]")
        for vip, source in zip(vips, OWN[far], strict=True):
            assert lab.http(pid, vip, *fetch) == source, f"{far} to the service of {name}"
        fetch = ["ip", "netns", "exec", "outside", "/bin/busybox"]
        for port in (8080 + number, 9080 + number):
            assert lab.http(pid, f"{OUTSIDE.host_ipv4}:{port}", *fetch) == OUTSIDE.ipv4, f"port {port} of {name}"
            assert lab.http(pid, f"[{OUTSIDE.host_ipv6}]:{port}", *fetch) == OUTSIDE.ipv6, f"port {port} of {name}"


def see_who_asks_by_name(lab: Lab, pids: dict[str, int], clients: Mapping[str, Sequence[str]]) -> None:
    """Fetch pages by names, of containers and of services, as programs in each of the containers do."""
    for client, command in clients.items():
        for server in sorted(pids.keys() - {client}):
            for name in (server, f"api-{server}"):
                assert lab.http(pids[server], name, *command) in OWN[client], f"{client} to {name}"


def test_containers_of_all_engines_see_who_asks(docker: Docker, podman: Podman, crun: Runtime, outside: None) -> None:
    """By published ports, by virtual IPs and by names, of containers and of services; then nothing is left of it."""
    lab, manifest = docker.lab, docker.lab.manifest(PUBLISHED)
    pids = {"a": docker.run("shop-a"), "b": podman.run("shop-b"), "c": crun.run("shop-c")}
    inside = {
        "a": (DOCKER, "-H", f"unix://{SOCKET}", "exec", "shop-a"),
        "b": podman.words("exec", "shop-b"),
        "c": ("crun", "exec", "shop-c"),
    }
    try:
        said = lab.netapply(manifest)
        assert "no names are found from c: there is no /etc/resolv.conf" in said, (
            "what a bare runtime starts is the user's"
        )
        (crun.rootfs / "etc/resolv.conf").write_text("nameserver 10.20.0.1\n")
        assert "no names are found" not in lab.netapply(manifest)
        for value in "01":
            for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
                lab.run(["sh", "-c", f"echo {value} > /proc/sys/net/bridge/{name}"])
            see_who_asks(lab, pids)
        see_who_asks_by_name(lab, pids, inside)
        for name in ("b", "c", "api-b", "api-c"):  # others may not ping
            for option in ("-4", "-6"):
                lab.run([*inside["a"], "ping", option, "-c", "1", "-w", str(labs.PATIENCE), name])
        docker("restart", "-t", "0", "shop-a")
        podman("restart", "-t", "0", "shop-b")
        pids |= {"a": docker.pid("shop-a"), "b": podman.pid("shop-b")}
        assert lab.netapply(manifest).count("+ endpoint") == 2
        see_who_asks(lab, pids)
        see_who_asks_by_name(lab, pids, {"a": inside["a"], "b": inside["b"]})
        assert "nothing to do" in lab.netapply(manifest)
        lab.netapply("destroy", manifest)
        assert [lab.links(pid) for pid in pids.values()] == [[]] * 3
        assert left(lab, *pids.values()) == []
    finally:
        crun("delete", "--force", "shop-c")
        lab.run(["rm", "-rf", str(lab.folder / "bundle-shop-c")])
