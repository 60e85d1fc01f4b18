"""Tests against real container engines, each engine in a host of its own that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import canary, only_for_root

from . import lab as labs
from .docker import Docker
from .lab import Lab
from .podman import Podman

__all__ = ["canary"]

HERE = Path(__file__).parent

GUARD = "table inet netapply"
"""What stays where netapply has turned forwarding on (docs/decisions/003)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    only_for_root(HERE, items)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := labs.missing("busybox", "nsenter"):
        pytest.skip(reason)
    return labs.rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture(scope="module")
def lab(canary: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A host for the tests of a module."""
    with labs.lab(tmp_path_factory.mktemp("lab")) as new:
        yield new


@pytest.fixture(scope="module")
def daemon(lab: Lab, rootfs: Path) -> Docker:
    if reason := labs.missing("dockerd", "docker", "containerd", "runc", "iptables"):
        pytest.skip(reason)
    docker = Docker(lab)
    docker.start()
    docker.load(rootfs)
    return docker


@pytest.fixture
def docker(daemon: Docker) -> Iterator[Docker]:
    """Docker without containers; what the test made with netapply as the project shop goes, too."""
    yield daemon
    clean(daemon.lab)
    daemon.remove_all()


def clean(lab: Lab) -> None:
    """Take away what a test has left of netapply's, and see that nothing stays."""
    if any(link.startswith(("ve", "shop")) for link in lab.links()) or lab.run("ls /run/netns").stdout:
        lab.netapply("destroy", "--project", "shop")
    assert left(lab) == []


def left(lab: Lab, *places: int) -> list[str]:
    """Return what netapply has left in the host itself, and its tables in the namespaces of processes."""
    links = [one["ifname"] for one in lab.json("ip -j link") if one.get("ifalias", "").startswith("netapply:")]
    rules = lab.run("iptables -S", check=False).stdout.splitlines()
    for enter in ([], *(["nsenter", f"--net=/proc/{pid}/ns/net", "--"] for pid in places)):
        rules += lab.run([*enter, "nft", "list", "tables"]).stdout.splitlines()
    return links + [one for one in rules if "netapply" in one and one != GUARD]


@pytest.fixture(scope="module")
def service(lab: Lab, rootfs: Path) -> Podman:
    if reason := labs.missing("podman", "crun", "conmon", "/usr/lib/podman/netavark"):
        pytest.skip(reason)
    podman = Podman(lab)
    podman.start()
    podman.load(rootfs)
    return podman


@pytest.fixture
def podman(service: Podman) -> Iterator[Podman]:
    """Podman without containers; what the test made with netapply goes, too."""
    yield service
    clean(service.lab)
    service.remove_all()
