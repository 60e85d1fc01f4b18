"""The executable that docs/drivers/exec.md shows, in use: root runs it, it has no rights, and its network carries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.dns import check_found
from tests.drivers import ROOT, code, executable
from tests.machine import Machine

LAB = """
version: 1
project: lab
networks:
  drawer: {driver: segment, ipam: {config: [{subnet: 10.9.0.0/24}, {subnet: "fd00:9::/64"}]}}
containers:
  one: {networks: {drawer: {ipv4_address: 10.9.0.11, ipv6_address: "fd00:9::11"}}}
  two: {networks: {drawer: {ipv4_address: 10.9.0.12, ipv6_address: "fd00:9::12"}}}
"""


@pytest.fixture
def driver(host: Machine) -> Path:
    """The page's driver, in a folder of root's."""
    folder = Path("/run/drivers")
    folder.mkdir(mode=0o755)
    host.environ["NETAPPLY_DRIVER_PATH"] = str(folder)
    return executable(folder, "segment", code("drivers/exec.md"))


def apply(host: Machine, text: str) -> str:
    """Apply a manifest, and once more to no effect; return what the first run said."""
    said = host.netapply("-", stdin=text).stdout
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    return said


def test_containers_on_its_network_reach_each_other_and_nobody_else(host: Machine, driver: Path) -> None:
    outside = host.outside()
    assert "+ endpoint one" in apply(host, LAB)
    assert host.pings([("one", "10.9.0.12"), ("one", "fd00:9::12"), ("two", "10.9.0.11")]) == [True] * 3
    assert host.tcp("one", "two", "10.9.0.12") == "10.9.0.11"
    assert host.pings([("one", outside.ipv4), ("", "10.9.0.11")], within=0.5) == [False] * 2
    before = host.snapshot()
    assert (
        "stp_state"
        in host.netapply("-", "-v", stdin=LAB.replace("segment,", "segment, driver_opts: {stp: true},")).stdout
    )
    apply(host, LAB)
    assert host.snapshot() == before


def test_containers_on_its_network_find_each_other_by_resolvers_of_their_own(host: Machine, driver: Path) -> None:
    apply(host, LAB.replace("networks:\n", "dns: true\nnetworks:\n", 1))
    check_found("one", "two", "10.9.0.12", "fd00:9::12")
    check_found("two", "one", "10.9.0.11", "fd00:9::11")
    host.netapply("destroy", "--project", "lab")
    assert [*Path("/run/netapply").glob("dns-*")] == []


def test_drift_is_mended_and_destroying_leaves_nothing(host: Machine, driver: Path) -> None:
    before = host.snapshot()
    apply(host, LAB)
    host.run("ip link del eth0", netns="one")
    apply(host, LAB)
    assert host.ping("one", "10.9.0.12")
    host.netapply("destroy", "-", stdin=LAB)
    assert host.snapshot() == before


def test_a_driver_that_others_can_change_changes_nothing(host: Machine, driver: Path) -> None:
    driver.chmod(0o777)
    before = host.snapshot()
    said = host.netapply("-", stdin=LAB, code=69).stderr
    assert said.startswith(f"error: driver segment ({driver}) is not run: others than its owner can write to {driver}")
    assert host.snapshot() == before


def test_a_wrong_answer_is_told_before_anything_is_touched(host: Machine, driver: Path) -> None:
    driver.write_text(driver.read_text().replace('"kind": "veth"', '"kind": "vteh"'))
    before = host.snapshot()
    error = json.loads(host.netapply("-", "--format", "json", stdin=LAB, code=70).stderr)["error"]
    assert error["kind"] == "DriverError"
    assert "netapply makes no links of kind vteh; did you mean veth?" in error["message"]
    assert host.snapshot() == before


def test_the_suite_for_authors_tries_it_on_the_kernel(host: Machine, driver: Path) -> None:
    """In a host of its own within: /run is empty there, so that the driver is put elsewhere."""
    host.run("mount -t tmpfs -o mode=755 tmpfs /mnt")
    executable(Path("/mnt"), "segment", code("drivers/exec.md"))
    before = host.snapshot()
    command = [sys.executable, "-m", "reconciler.conformance", "segment", "--netapply-kernel", "-k", "on_the_kernel"]
    done = host.run(command, env={"NETAPPLY_DRIVER_PATH": "/mnt", "PYTHONPATH": str(ROOT)}, timeout=120)
    assert "1 passed" in done.stdout
    assert host.snapshot() == before
