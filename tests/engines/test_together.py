"""Containers of Docker, Podman and crun, and namespaces with no container, on one network."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from . import lab as labs
from .docker import Docker
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
def crun(lab: Lab, rootfs: Path) -> Runtime:
    if reason := labs.missing("runc", "crun"):
        pytest.skip(reason)
    return Runtime(lab, rootfs, "crun")


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
