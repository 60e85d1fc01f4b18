"""Whose a resolv.conf is, when containers move, when somebody in one lies, and when somebody copies files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from tests.dns import ask
from tests.machine import Machine

from .test_dns import FRONT, IN_A_PROCESS, MANIFEST, apply, in_a_process
from .test_rollback import OPTIONS, Counting, raising


def runtimes_file(host: Machine, digit: str) -> tuple[Path, int]:
    """Return a runtime's file that is mounted into a container, and the container's process."""
    path = Path("/run/containers", digit * 64, "resolv.conf")
    path.parent.mkdir(parents=True)
    path.write_text(original(digit))
    return path, in_a_process(host, f"mount --bind {path} /etc/resolv.conf")[0]


def original(digit: str) -> str:
    return f"nameserver 192.0.2.{digit}\n"


def test_a_container_that_moves_takes_its_names_along_and_leaves_the_old_file_as_it_was(host: Machine) -> None:
    (old, first), (new, second) = (runtimes_file(host, digit) for digit in "12")
    apply(host, IN_A_PROCESS.replace("PID", str(first)))
    apply(host, IN_A_PROCESS.replace("PID", str(second)))
    assert old.read_text() == original("1")
    assert f"\nnameserver {FRONT}\n" in new.read_text()
    host.netapply("destroy", "--project", "shop")
    assert (old.read_text(), new.read_text()) == (original("1"), original("2"))


def test_a_move_that_fails_anywhere_leaves_both_files_as_they_were(host: Machine, tmp_path: Path) -> None:
    files, pids = zip(*(runtimes_file(host, digit) for digit in "12"), strict=True)
    manifests = []
    for pid in pids:
        (path := tmp_path / f"{pid}.yaml").write_text(IN_A_PROCESS.replace("PID", str(pid)))
        manifests.append(load([str(path)]))
    before, after = manifests
    for _ in range(2):  # that `lo` is up stays
        engine.converge(before, LinuxHost(), OPTIONS)
        as_made = [path.read_text() for path in files]
        told: list[str] = []
        engine.converge(after, LinuxHost(trap=told.append), OPTIONS)
    engine.converge(before, LinuxHost(), OPTIONS)
    assert len([what for what in told if "resolv.conf" in what]) == 2
    for at, what in enumerate(told):
        with pytest.raises(ApplyFailed, match="the host is as it was before"):
            engine.converge(after, LinuxHost(trap=Counting(at, raising(errno.EBUSY))), OPTIONS)
        assert [path.read_text() for path in files] == as_made, f"failed at {what}"


def test_what_somebody_in_a_container_writes_makes_its_file_nobody_elses(host: Machine) -> None:
    (app, first), (other, second) = (runtimes_file(host, digit) for digit in "12")
    two = IN_A_PROCESS.replace("PID", str(first)) + (
        f"  other: {{sandbox: {{pid: {second}}}, networks: {{front: {{ipv4_address: 10.20.0.21}}}}}}\n"
    )
    apply(host, two)
    as_made = app.read_text()
    other.write_text(as_made.replace(FRONT, "192.0.2.66"))
    apply(host, two)
    assert app.read_text() == as_made
    assert f"\nnameserver {FRONT}\n" in other.read_text()
    apply(host, two.partition("  other:")[0])
    assert app.read_text() == as_made
    assert "netapply" not in other.read_text()
    other.write_text(as_made)  # though it is in no manifest any more
    apply(host, two.partition("  other:")[0])
    host.netapply("destroy", "--project", "shop")
    assert app.read_text() == original("1")


@pytest.mark.parametrize("keeper", ["podman", "docker"])
def test_podmans_own_resolver_stays_and_one_that_a_user_has_named_does_not(host: Machine, keeper: str) -> None:
    """Podman names the host's address on its network; with Docker that is whom somebody has given by --dns."""
    host.run("ip addr add 192.0.2.1/32 dev lo")
    path = Path("/run/containers", "a" * 64, *(["userdata"] if keeper == "podman" else []), "resolv.conf")
    path.parent.mkdir(parents=True)
    path.write_text(original("1"))
    _, manifest = in_a_process(host, f"mount --bind {path} /etc/resolv.conf")
    said = host.netapply("-", stdin=manifest).stdout
    assert ("note: no names are found from app: Podman's own resolver (192.0.2.1)" in said) is (keeper == "podman")
    assert (path.read_text() == original("1")) is (keeper == "podman")
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


def test_a_device_in_the_place_of_a_resolv_conf_is_not_opened(host: Machine) -> None:
    reading = "{ cat /etc/resolv.conf & }"
    pid, manifest = in_a_process(host, f"mount -t tmpfs tmpfs /etc && mkfifo /etc/resolv.conf && {reading}")
    apply(host, manifest)
    pipe = os.open(f"/proc/{pid}/root/etc/resolv.conf", os.O_WRONLY | os.O_NONBLOCK)  # ENXIO: its reader has ended
    os.write(pipe, b"the first that it reads\n")
    os.close(pipe)
    said = host.processes[-1].stdout
    assert said
    assert said.readline() == "the first that it reads\n"
    assert ask(f"/proc/{pid}/ns/net", FRONT, "web").values == ("10.20.0.10",)


def test_a_copy_of_a_file_of_ours_goes_and_the_file_stays(host: Machine) -> None:
    apply(host)
    as_made = Path("/etc/netns/web/resolv.conf").read_text()
    host.run("cp -r /etc/netns/web /etc/netns/another")
    apply(host)
    assert Path("/etc/netns/web/resolv.conf").read_text() == as_made
    assert not Path("/etc/netns/another").exists()


def test_names_are_found_whatever_the_umask(host: Machine) -> None:
    before = os.umask(0o077)
    try:
        apply(host)
        assert ask("web", FRONT, "api").values == ("10.20.0.20",)
        apply(host, MANIFEST.replace("10.20.0.20", "10.20.0.21"))
        assert ask("web", FRONT, "api").values == ("10.20.0.21",)
    finally:
        os.umask(before)
