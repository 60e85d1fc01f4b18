"""What the kernel can make is found out by trying, in a namespace of its own, and said before anything is touched."""

from __future__ import annotations

import pytest

from reconciler.host.linux import LinuxHost
from tests.features import has
from tests.machine import Machine

LAN = """
version: 1
project: shop
networks: {lan: {driver: ipvlan, driver_opts: {parent: uplink}}}
containers: {web: {networks: [lan]}}
"""
KINDS = ("dummy", "ipvlan", "vlan", "wireguard")


def test_trying_tells_what_the_kernel_makes_and_leaves_nothing_behind(host: Machine) -> None:
    before, tried = host.snapshot(), LinuxHost()
    assert list(tried.lacking(["bridge", "veth", "macvlan", "nonesuch", "vxlan"])) == ["nonesuch"]
    assert list(tried.lacking(KINDS)) == [kind for kind in KINDS if not has(kind)]
    assert host.snapshot() == before
    tried.close()


def test_what_was_tried_is_known_for_the_rest_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = LinuxHost()
    assert list(tried.lacking(["veth", "nonesuch"])) == ["nonesuch"]
    monkeypatch.setattr("reconciler.host.probing.lacking", lambda kinds: pytest.fail(f"{kinds} are tried again"))
    assert list(tried.lacking(["nonesuch", "veth"])) == ["nonesuch"]
    tried.close()


def test_a_kernel_without_ipvlan_is_told_so_and_nothing_is_made(host: Machine) -> None:
    if has("ipvlan"):
        pytest.skip("this kernel has ipvlan; tests/unit/test_parents.py tries the words on one in memory")
    host.outside()
    before = host.snapshot()
    for command in ("plan", "apply"):
        said = host.netapply(command, "-", stdin=LAN, code=69).stderr
        assert "network lan needs links of kind ipvlan, which this kernel does not make" in said
        assert "modprobe ipvlan" in said
        assert "CONFIG_IPVLAN" in said
    assert host.snapshot() == before
