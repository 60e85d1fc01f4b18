"""Beside the real Docker Compose: its containers get networks of ours, and it goes on as if they had none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker import SOCKET, Docker
from .lab import IMAGE, Completed, Lab, missing

PROJECT = f"""
version: "3"
services:
  web: {{image: {IMAGE}, container_name: shop-web, command: [sleep, "100000"]}}
  db: {{image: {IMAGE}, container_name: shop-db, command: [sleep, "100000"]}}
  lone: {{image: {IMAGE}, container_name: shop-lone, command: [sleep, "100000"], network_mode: none}}
"""

SHOP = """
project: shop
networks:
  front: {no_default_route: true, ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {sandbox: {docker: shop-web}, networks: {front: {ipv4_address: 10.20.0.10}}}
  lone: {sandbox: {docker: shop-lone}, networks: {front: {ipv4_address: 10.20.0.11}}}
"""


class Compose:
    """docker-compose (Debian's) with PROJECT."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker, self.lab = docker, docker.lab
        self._words = ["docker-compose", "-p", "shop", "-f", str(folder / "compose.yaml")]
        (folder / "compose.yaml").write_text(PROJECT)

    def __call__(self, *words: str, check: bool = True) -> Completed:
        return self.lab.run(["env", f"DOCKER_HOST=unix://{SOCKET}", *self._words, *words], check=check)

    def ids(self) -> list[str]:
        return self("ps", "-q").stdout.split()

    def answers(self, name: str) -> bool:
        """Whether web reaches another service as Compose has it: by its name, on the project's own network."""
        return self.docker("exec", "shop-web", "ping", "-c1", "-W2", name, check=False).returncode == 0


@pytest.fixture
def compose(docker: Docker, tmp_path: Path) -> Iterator[Compose]:
    if reason := missing("docker-compose"):
        pytest.skip(reason)
    new = Compose(docker, tmp_path)
    new("up", "-d")
    yield new
    new("down", "-t", "0")


def test_compose_sees_nothing_to_do_where_netapply_has_attached_its_containers(compose: Compose) -> None:
    lab, manifest = compose.lab, compose.lab.manifest(SHOP)
    before = compose.ids()
    lab.netapply(manifest)
    assert attached(lab, compose.docker) == {"shop-web": ["eth0", "net0"], "shop-lone": ["net0"]}
    assert lab.ping(compose.docker.pid("shop-lone"), "10.20.0.10"), "by our network"
    assert compose.answers("db"), "by Compose's"
    compose("up", "-d")
    assert compose.ids() == before
    assert "nothing to do" in lab.netapply(manifest)


def test_what_compose_restarts_or_makes_anew_is_attached_by_the_next_run(compose: Compose) -> None:
    lab, manifest = compose.lab, compose.lab.manifest(SHOP)
    lab.netapply(manifest)
    for again in (("restart", "-t", "0"), ("up", "-d", "-t", "0", "--force-recreate")):
        compose(*again)
        said = lab.netapply(manifest)
        assert said.count("+ endpoint") == 2, said
        assert attached(lab, compose.docker) == {"shop-web": ["eth0", "net0"], "shop-lone": ["net0"]}
        assert lab.ping(compose.docker.pid("shop-lone"), "10.20.0.10")
        assert compose.answers("db")
        assert "nothing to do" in lab.netapply(manifest)


def test_compose_can_take_its_project_down_and_put_it_up_again(compose: Compose) -> None:
    lab, manifest = compose.lab, compose.lab.manifest(SHOP)
    lab.netapply(manifest)
    compose("down", "-t", "0")
    said = lab.netapply(manifest)
    assert "pending: container web: Docker has no container shop-web" in said
    compose("up", "-d")
    assert lab.netapply(manifest).count("+ endpoint") == 2
    assert compose.answers("db")
    lab.netapply("destroy", manifest)
    assert attached(lab, compose.docker) == {"shop-web": ["eth0"], "shop-lone": []}
    assert compose.answers("db")


def attached(lab: Lab, docker: Docker) -> dict[str, list[str]]:
    return {name: sorted(lab.links(docker.pid(name))) for name in ("shop-web", "shop-lone")}
