"""Names in the containers of real engines on a network that the host has no address on: by a resolver in there."""

from __future__ import annotations

import pytest

from .docker import Docker
from .lab import Lab
from .podman import Podman
from .test_dns import find_each_other, looks_up, resolv_conf

SHOP = """
project: shop
dns: true
networks:
  apart: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.25.0.0/24}]}}
containers:
  web: {sandbox: {ENGINE: shop-web}, networks: {apart: {ipv4_address: 10.25.0.10}}}
  db: {sandbox: {ENGINE: shop-db}, networks: {apart: {ipv4_address: 10.25.0.11, aliases: [store]}}}
"""


def resolvers(lab: Lab, pid: int) -> list[str]:
    """What listens at port 53 of 127.0.0.11 in a container: one socket of UDP, and one of TCP."""
    told = lab.run(["nsenter", "--target", str(pid), "--net", "ss", "-Hlntu"]).stdout
    return sorted(words[0] for line in told.splitlines() if (words := line.split())[4] == "127.0.0.11:53")


def processes(lab: Lab) -> int:
    """How many resolvers there are in all."""
    return lab.run(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>&1 | tr '\\0' ' '"]).stdout.count("/sandboxes/")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_they_find_each_other_and_no_process_outlives_them(engine: str, request: pytest.FixtureRequest) -> None:
    one: Docker | Podman = request.getfixturevalue(engine)
    lab, pair = one.lab, find_each_other(one, SHOP, "127.0.0.11")
    assert resolvers(lab, pair.web) == resolvers(lab, pair.db) == ["tcp", "udp"]
    assert processes(lab) == 2
    one("stop", "-t", "0", "shop-db")
    lab.netapply(pair.manifest)
    assert processes(lab) == 1
    lab.netapply("destroy", pair.manifest)
    assert processes(lab) == 0
    assert resolv_conf(lab, pair.web) == pair.before


def test_where_docker_has_its_own_there_is_none(docker: Docker) -> None:
    docker("network", "create", "theirs")
    lab, web, db = docker.lab, docker.run("shop-web", "--network", "theirs"), docker.run("shop-db", "--network", "none")
    manifest = lab.manifest(SHOP.replace("ENGINE", "docker"))
    before = resolv_conf(lab, web)
    assert "nameserver 127.0.0.11" in before
    assert "no names are found from web: Docker's own resolver is in there" in lab.netapply(manifest)
    assert "nothing to do" in lab.netapply(manifest)
    assert resolv_conf(lab, web) == before
    assert (resolvers(lab, web), resolvers(lab, db)) == ([], ["tcp", "udp"])
    assert looks_up(lab, web, "shop-web")  # as before, by Docker's
    assert looks_up(lab, db, "web")
    lab.netapply("destroy", manifest)
    assert processes(lab) == 0
