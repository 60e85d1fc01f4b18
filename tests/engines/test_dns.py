"""Names in the containers of real engines, by the resolv.conf that the engine has mounted into them."""

from __future__ import annotations

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


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_containers_of_an_engine_find_each_other_by_name(engine: str, request: pytest.FixtureRequest) -> None:
    one: Docker | Podman = request.getfixturevalue(engine)
    network = ("--network", "none") if engine == "docker" else ("--network", "podman")  # on none that makes no file
    lab, web, db = one.lab, one.run("shop-web", *network), one.run("shop-db", *network)
    manifest = lab.manifest(SHOP.replace("ENGINE", engine))
    before = resolv_conf(lab, web)
    lab.netapply(manifest)
    assert "nothing to do" in lab.netapply(manifest)
    assert resolv_conf(lab, web).splitlines()[1] == "nameserver 10.20.0.1"
    assert looks_up(lab, web, "store")
    assert looks_up(lab, db, "web")
    one("restart", "-t", "0", "shop-web")
    web = one.pid("shop-web")
    lab.netapply(manifest)
    assert "nothing to do" in lab.netapply(manifest)
    assert looks_up(lab, web, "db")
    lab.netapply("destroy", manifest)
    assert resolv_conf(lab, web) == before
    assert "netapply" not in resolv_conf(lab, db)
