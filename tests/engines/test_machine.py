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


def test_a_machine_finds_names_once_its_own_resolv_conf_says_whom_to_ask(machined: Machined) -> None:
    lab, resolv_conf = machined.lab, machined.rootfs / "etc/resolv.conf"
    manifest = lab.manifest(SHOP.replace("project: shop", "project: shop\ndns: true"))
    pid = machined.run("web")
    in_web = ("nsenter", f"--target={pid}", "--net", "--mount", "--root", "--")
    in_db = ("ip", "netns", "exec", "db", "/bin/busybox")
    try:
        assert "no names are found from web: there is no /etc/resolv.conf" in lab.netapply(manifest)
        assert not resolv_conf.exists(), "it is not netapply's to make"
        assert lab.http(pid, "web", *in_db) in ("10.20.0.11", "fd00:20::11"), "it is found all the same"
        resolv_conf.write_text("nameserver 10.20.0.1\n")
        said = lab.netapply(manifest)
        assert "no names are found" not in said
        assert "nothing to do" in said
        assert lab.http("db", "db", *in_web) in ("10.20.0.10", "fd00:20::10")
        lab.netapply("destroy", manifest)
        assert resolv_conf.read_text() == "nameserver 10.20.0.1\n"
    finally:
        resolv_conf.unlink(missing_ok=True)
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
