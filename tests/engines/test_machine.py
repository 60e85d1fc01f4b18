"""Containers of systemd-nspawn's, by the names that systemd-machined has for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import lab as labs
from .lab import Lab
from .machined import FOLDER, MACHINED, Machined

SHOP = """
project: shop
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}}
containers:
  web: {sandbox: {machine: web}, networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}
  db: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
"""


@pytest.fixture(scope="module")
def machined(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machined]:
    if reason := labs.missing("systemd-nspawn", MACHINED, "dbus-daemon", "busybox"):
        pytest.skip(reason)
    new = Machined(lab, labs.rootfs(tmp_path_factory.mktemp("machine")))
    new.start()
    try:
        yield new
    finally:
        new.clean()


def test_a_machine_is_attached_restarted_and_detached(machined: Machined) -> None:
    lab, manifest = machined.lab, machined.lab.manifest(SHOP)
    assert "web: machine web does not run" in lab.netapply(manifest)
    pid = machined.run("web")
    lab.netapply(manifest)
    assert lab.links(pid) == ["net0"]
    assert lab.tcp("db", pid, "10.20.0.10") == "10.20.0.11"
    assert lab.ping(pid, "fd00:20::11")
    assert "nothing to do" in lab.netapply(manifest)
    machined.stop("web")
    assert "machine web does not run" in lab.netapply(manifest)
    assert lab.links("db") == ["eth0"]
    pid = machined.run("web")
    said = lab.netapply(manifest)
    assert said.count("+ endpoint") == 1
    assert lab.tcp("db", pid, "10.20.0.10") == "10.20.0.11"
    lab.netapply(lab.manifest(SHOP.replace("  web: {sandbox", "  # web: {sandbox")))
    assert lab.links(pid) == []
    lab.netapply("destroy", manifest)
    assert [link for link in lab.links() if link.startswith(("shop", "ve"))] == []
    machined.stop("web")


def test_a_machine_that_was_killed_is_not_whoever_has_its_number_now(machined: Machined) -> None:
    """systemd-nspawn was killed and told nobody, so that the file stays."""
    lab, manifest = machined.lab, machined.lab.manifest(SHOP)
    pid = machined.run("web")
    lab.netapply(manifest)
    machined.kill("web")
    assert machined.leader("web") == pid, "nobody has told machined"
    assert f"web: machine web does not run: its leader, process {pid}, has ended" in lab.netapply(manifest)
    if lab.run("test -w /proc/sys/kernel/ns_last_pid", check=False).returncode:
        pytest.skip("this kernel lets nobody choose the number of the next process")
    # the next process gets the number after the last one's
    again = f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid; unshare --net sleep 100000 > /dev/null 2>&1 & echo $!"
    assert lab.run(["sh", "-c", again]).stdout == f"{pid}\n"
    assert f"web: machine web does not run: its leader, process {pid}, has ended" in lab.netapply(manifest)
    assert lab.links(pid) == []
    lab.run(["rm", f"{FOLDER}/web"])
    lab.run(["kill", str(pid)])
    lab.netapply("destroy", manifest)
