"""Names in the containers of real engines, by the resolv.conf that the engine has mounted into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .docker import Docker
from .lab import Lab
from .podman import Podman

SHOP = """
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {sandbox: {ENGINE: shop-web}, networks: {front: {ipv4_address: 10.20.0.10}}}
  db: {sandbox: {ENGINE: shop-db}, networks: {front: {ipv4_address: 10.20.0.11, aliases: [store]}}}
"""


def resolv_conf(lab: Lab, pid: int) -> str:
    return lab.run(["nsenter", "--target", str(pid), "--mount", "cat", "/etc/resolv.conf"]).stdout


def looks_up(lab: Lab, pid: int, name: str) -> bool:
    """Whether a container pings another one by its name."""
    words = ["nsenter", "--target", str(pid), "--mount", "--net", "ping", "-c", "1", "-w", "3", name]
    return lab.run(words, check=False).returncode == 0


class Pair(NamedTuple):
    """Two containers that find each other: their processes, the manifest, and what web's resolv.conf was before."""

    web: int
    db: int
    manifest: Path
    before: str


def find_each_other(one: Docker | Podman, text: str, server: str) -> Pair:
    """Start two containers, apply a manifest for them, restart one, and have them find each other all the while."""
    is_docker = isinstance(one, Docker)
    network = ("--network", "none") if is_docker else ("--network", "podman")  # on none that makes no file
    lab, web, db = one.lab, one.run("shop-web", *network), one.run("shop-db", *network)
    manifest = lab.manifest(text.replace("ENGINE", "docker" if is_docker else "podman"))
    before = resolv_conf(lab, web)
    lab.netapply(manifest)
    assert "nothing to do" in lab.netapply(manifest)
    assert resolv_conf(lab, web).splitlines()[1] == f"nameserver {server}"
    assert looks_up(lab, web, "store")
    assert looks_up(lab, db, "web")
    one("restart", "-t", "0", "shop-web")
    web = one.pid("shop-web")
    lab.netapply(manifest)
    assert "nothing to do" in lab.netapply(manifest)
    assert looks_up(lab, web, "db")
    return Pair(web, db, manifest, before)


BESIDE = SHOP.replace("front: {ipam", "front: {no_default_route: true, ipam").replace(
    "sandbox: {ENGINE: shop-db}, ", ""
)


def finds(one: Docker | Podman, name: str) -> bool:
    """Whether the container shop-web finds an address for a name."""
    said = one("exec", "shop-web", "nslookup", name, check=False)
    return said.returncode == 0 and "Address" in said.stdout.partition(f"Name:\t{name}")[2]


@pytest.fixture
def theirs(engine: str, request: pytest.FixtureRequest) -> Iterator[Docker | Podman]:
    """An engine with a network of its own, on which its own resolver answers; and a container there to be found."""
    one: Docker | Podman = request.getfixturevalue(engine)
    one("network", "create", "theirs")
    one.run("other", "--network", "theirs")
    yield one
    one.remove_all()
    one("network", "rm", "theirs")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_names_of_an_engines_own_networks_go_on_and_how_to_have_ours_is_said(theirs: Docker | Podman) -> None:
    lab, web = theirs.lab, theirs.run("shop-web", "--network", "theirs")
    kind = "docker" if isinstance(theirs, Docker) else "podman"
    manifest, before = lab.manifest(BESIDE.replace("ENGINE", kind)), resolv_conf(lab, web)
    assert finds(theirs, "other")
    said = lab.netapply(manifest)
    assert {"docker": "run the container with `--dns 10.20.0.1`", "podman": "--disable-dns"}[kind] in said
    assert "nothing to do" in lab.netapply(manifest)
    assert finds(theirs, "other")
    assert not finds(theirs, "db")
    assert resolv_conf(lab, web) == before
    lab.netapply("destroy", manifest)
    assert resolv_conf(lab, web) == before


@pytest.mark.parametrize("engine", ["docker"])
def test_dockers_own_resolver_finds_our_names_too_where_it_asks_ours(theirs: Docker) -> None:
    lab = theirs.lab
    theirs.run("shop-web", "--network", "theirs", "--dns", "10.20.0.1")
    lab.netapply(lab.manifest(BESIDE.replace("ENGINE", "docker")))
    assert finds(theirs, "other")
    assert finds(theirs, "store")


@pytest.mark.parametrize("engine", ["podman"])
def test_on_a_network_of_podmans_without_a_resolver_our_names_are_found(engine: str, podman: Podman) -> None:
    podman("network", "create", "--disable-dns", "plain")
    try:
        podman.run("shop-web", "--network", "plain")
        assert "no names are found" not in podman.lab.netapply(podman.lab.manifest(BESIDE.replace("ENGINE", engine)))
        assert finds(podman, "store")
    finally:
        podman.remove_all()
        podman("network", "rm", "plain")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_containers_of_an_engine_find_each_other_by_name(engine: str, request: pytest.FixtureRequest) -> None:
    one: Docker | Podman = request.getfixturevalue(engine)
    pair = find_each_other(one, SHOP, "10.20.0.1")
    one.lab.netapply("destroy", pair.manifest)
    assert resolv_conf(one.lab, pair.web) == pair.before
    assert "netapply" not in resolv_conf(one.lab, pair.db)
