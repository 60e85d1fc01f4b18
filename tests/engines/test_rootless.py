"""Containers of a user's own Podman, without root, attached by root."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import lab as labs
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
