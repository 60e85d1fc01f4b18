"""dockerd on a host that does not forward yet: it turns forwarding on, and has the firewall drop all but its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import lab as labs
from .docker import Docker

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}}
containers: {web: {networks: {front: {ipv4_address: 10.20.0.10}}}, db: {networks: {front: {ipv4_address: 10.20.0.11}}}}
"""


def test_docker_drops_what_others_forward_unless_coexist_says_otherwise(tmp_path: Path) -> None:
    if reason := labs.missing("dockerd", "docker", "containerd", "runc", "iptables"):
        pytest.skip(reason)
    with labs.lab(tmp_path, forwarding=False) as lab:
        docker = Docker(lab)
        docker.start()
        assert "Chain FORWARD (policy DROP)" in lab.run("iptables -n -L FORWARD").stdout
        before = lab.run("iptables-save").stdout.splitlines()[1:-1]
        said = lab.netapply(lab.manifest(SHOP))
        assert "drops what is forwarded for shop-front; say `coexist: docker` in the manifest" in said
        assert not lab.ping("web", "10.20.0.11", within=0.5)
        lab.netapply(lab.manifest("coexist: docker\n" + SHOP))
        assert lab.ping("web", "10.20.0.11")
        assert "nothing to do" in lab.netapply(lab.manifest("coexist: docker\n" + SHOP))
        docker("network", "create", "more")
        assert lab.ping("web", "10.20.0.11"), "Docker has written its rules anew"
        docker("network", "rm", "more")
        lab.netapply("destroy", lab.manifest("coexist: docker\n" + SHOP))
        assert rules(lab.run("iptables-save").stdout.splitlines()[1:-1]) == rules(before)


def rules(lines: list[str]) -> list[str]:
    """Return what iptables-save prints without comments and counters."""
    return [line.partition(" [")[0] for line in lines if not line.startswith("#")]
