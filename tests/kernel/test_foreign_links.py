"""Links of others on the parent that a network's links stand on: they stay as they are, and their traffic goes on."""

from __future__ import annotations

import time

from tests import canaries
from tests.machine import PATIENCE, REACHED_WITHIN, Machine

LAN = """
project: shop
networks:
  lan: {{driver: macvlan, driver_opts: {{parent: uplink, {options}}}, ipam: {{config: [{{subnet: 10.23.0.0/24}}]}}}}
containers: {{web: {{networks: [lan]}}, db: {{networks: {{lan: {{{db}}}}}}}}}
"""
MADE = LAN.format(options="host_access: 10.23.0.250", db="mac_address: '02:00:00:00:00:33'")
CHANGED = LAN.format(options="mode: private, bc_queue_len: 500", db="interface_name: lan0").replace(
    "driver: macvlan,", "driver: macvlan, mtu: 1400,"
)


def test_a_macvlan_of_others_on_the_same_parent_survives_ours_being_made_changed_and_removed(host: Machine) -> None:
    host.outside()
    canaries.make("uplink")
    host.netns("theirs")
    host.run("ip link add theirs0 link uplink netns theirs type macvlan mode bridge")
    host.run("ip -n theirs addr add 203.0.113.9/24 dev theirs0")
    host.run("ip -n theirs link set theirs0 up")
    theirs = {"": "canary-macvlan", "theirs": "theirs0"}
    before, around = {netns: _settled(host, netns, link) for netns, link in theirs.items()}, canaries.state()
    with host.flow("theirs", "203.0.113.2") as flow:
        for manifest in (MADE, CHANGED, MADE):
            assert "nothing to do" not in host.netapply("-", stdin=manifest).stdout
            assert {netns: _said(host, netns, link) for netns, link in theirs.items()} == before
            assert canaries.state() == around
        host.netapply("destroy", "--project", "shop")
    assert flow.lost == 0
    assert {netns: _said(host, netns, link) for netns, link in theirs.items()} == before
    assert canaries.state() == around


def _said(host: Machine, netns: str, link: str) -> str:
    """Return all that `ip` says of a link."""
    return host.run(f"ip -j -d link show dev {link}", netns=netns).stdout


def _settled(host: Machine, netns: str, link: str) -> str:
    """Return the same once the link is up, which it becomes in the kernel's own time."""
    deadline = time.monotonic() + REACHED_WITHIN * PATIENCE
    while '"operstate":"UP"' not in (said := _said(host, netns, link)):
        assert time.monotonic() < deadline, f"{link} does not come up: {said}"
        time.sleep(0.01)
    return said
