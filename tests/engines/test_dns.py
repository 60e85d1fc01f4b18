"""Names in the containers of real engines, by the resolv.conf that the engine has mounted into them."""

from __future__ import annotations

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


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_containers_of_an_engine_find_each_other_by_name(engine: str, request: pytest.FixtureRequest) -> None:
    one: Docker | Podman = request.getfixturevalue(engine)
    pair = find_each_other(one, SHOP, "10.20.0.1")
    one.lab.netapply("destroy", pair.manifest)
    assert resolv_conf(one.lab, pair.web) == pair.before
    assert "netapply" not in resolv_conf(one.lab, pair.db)
