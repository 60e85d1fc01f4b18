"""Containers of a user's own Podman or Docker, without root, attached by root."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import lab as labs
from .conftest import left
from .docker import Docker
from .lab import Lab
from .podman import Podman

SHOP = """
project: shop
networks: {{front: {{ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}}}}}
containers:
  web: {{sandbox: {{podman: web, socket: {socket}}}, networks: {{front: {{ipv4_address: 10.20.0.10}}}}}}
  db: {{networks: {{front: {{ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}}}}
"""


def test_a_users_container_is_attached_and_detached(lab: Lab, rootfs: Path) -> None:
    if reason := labs.missing("podman", "crun", "conmon"):
        pytest.skip(reason)
    podman = Podman(lab, user=True)
    podman.start()
    podman.load(rootfs)
    pid, manifest = podman.run("web"), lab.manifest(SHOP.format(socket=podman.socket))
    lab.netapply(manifest)
    assert lab.links(pid) == ["net0"]
    assert lab.tcp("db", pid, "10.20.0.10") == "10.20.0.11"
    assert lab.ping(pid, "fd00:20::11")
    assert "nothing to do" in lab.netapply(manifest)
    lab.netapply("destroy", manifest)
    assert lab.links(pid) == []
    podman.remove_all()


BESIDE = """
project: shop
networks:
  front: {{no_default_route: true, ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}}}
containers:
  web:
    sandbox: {{docker: web, socket: {socket}}}
    networks: {{front: {{ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}}
    ports: ["8080:80"]
  api: {{sandbox: {{docker: api, socket: {socket}}}, networks: {{front: {{ipv4_address: 10.20.0.12}}}}}}
  db: {{networks: {{front: {{ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}}}}
"""


def test_containers_of_a_users_docker_are_attached_restarted_and_detached(tmp_path: Path, rootfs: Path) -> None:
    """On no network, and beside a network of Docker's own, which is in a namespace of the user's."""
    if reason := labs.missing("dockerd", "docker", "rootlesskit", "slirp4netns", "newuidmap"):
        pytest.skip(reason)
    if not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no /dev/net/tun")
    with labs.lab(tmp_path) as lab:
        docker = Docker(lab, user=True)
        docker.start()
        docker.load(rootfs)
        web, api = docker.run("web"), docker.run("api", "--network", "bridge")
        manifest = lab.manifest(BESIDE.format(socket=docker.socket))
        lab.netapply(manifest)
        assert (lab.links(web), sorted(lab.links(api))) == (["net0"], ["eth0", "net0"])
        fetch = ("ip", "netns", "exec", "db", "/bin/busybox")
        assert lab.http(web, "10.20.0.10", *fetch) == "10.20.0.11"
        assert lab.http(web, "[fd00:20::10]", *fetch) == "fd00:20::11"
        assert lab.http(web, "10.20.0.1:8080", *fetch) == "10.20.0.1", "by its port on the host"
        assert lab.http(api, "10.20.0.12", *fetch) == "10.20.0.11"
        assert "nothing to do" in lab.netapply(manifest)
        docker("restart", "-t", "0", "web")
        assert lab.netapply(manifest).count("+ endpoint") == 1
        assert lab.http(docker.pid("web"), "10.20.0.10", *fetch) == "10.20.0.11"
        lab.netapply("destroy", manifest)
        assert (lab.links(docker.pid("web")), lab.links(api)) == ([], ["eth0"])
        assert left(lab, docker.pid("web"), api) == []
