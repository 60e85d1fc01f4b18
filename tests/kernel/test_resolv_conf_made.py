"""A container without a resolv.conf is given one, which goes with its endpoints; what is said where none can be."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from tests.dns import ask
from tests.machine import Machine

from .test_dns import FRONT, IN_A_PROCESS, apply, in_a_process
from .test_killed import kill, run_in_a_child
from .test_rollback import OPTIONS, Counting, raising

TWO = IN_A_PROCESS + "  more: {sandbox: {pid: MORE}, networks: {front: {ipv4_address: 10.20.0.30}}}\n"
DRAFT = ".resolv.conf.netapply"
NOBODY = 65534


class Root(NamedTuple):
    """A container's root file system: an overlay on the host's own, whose resolv.conf is not in it."""

    host: Machine
    path: Path

    @property
    def resolv_conf(self) -> Path:
        return self.path / "etc/resolv.conf"

    def start(self) -> int:
        """Start a container's process in it."""
        words = f"echo ready && exec chroot {self.path} sleep 600"
        process = self.host.start(["unshare", "--net", "--mount", "sh", "-c", words])
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        while os.readlink(f"/proc/{process.pid}/root") != str(self.path):  # once it is in there
            assert process.poll() is None
        return process.pid


def root(host: Machine, number: int = 1) -> Root:
    folder = Path(f"/run/roots/{number}")
    for name in ("upper", "work", "merged"):
        (folder / name).mkdir(parents=True)
    options = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    host.run(["mount", "-t", "overlay", "overlay", "-o", options, str(folder / "merged")])
    made = Root(host, folder / "merged")
    made.resolv_conf.unlink(missing_ok=True)
    return made


def manifest(pid: int) -> str:
    return IN_A_PROCESS.replace("PID", str(pid))


def loaded(tmp_path: Path, text: str) -> Manifest:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    return load([str(path)])


def whats_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*resolv.conf*")}


def test_a_container_without_a_file_is_given_one_and_finds_others_by_name(host: Machine) -> None:
    one = root(host)
    pid = one.start()
    apply(host, manifest(pid))
    assert one.resolv_conf.read_text().splitlines()[1:] == [f"nameserver {FRONT}"]
    assert one.resolv_conf.stat().st_mode & 0o777 == 0o644
    found = host.run(f"nsenter --target {pid} --root --net getent hosts web").stdout
    assert found.split()[0] == "10.20.0.10"
    one.resolv_conf.write_text(one.resolv_conf.read_text().replace(FRONT, "192.0.2.66"))
    assert "192.0.2.66" in host.netapply("plan", "-", stdin=manifest(pid)).stdout
    apply(host, manifest(pid))
    one.resolv_conf.unlink()
    apply(host, manifest(pid))
    assert f"nameserver {FRONT}\n" in one.resolv_conf.read_text()
    apply(host, manifest(pid).partition("  app:")[0])
    assert whats_in(one.path / "etc") == {}
    apply(host, manifest(pid))
    host.netapply("destroy", "--project", "shop")
    assert whats_in(one.path / "etc") == {}


def test_the_file_outlives_a_restart_and_is_the_containers_still(host: Machine) -> None:
    one = root(host)
    pid = one.start()
    apply(host, manifest(pid))
    as_made = one.resolv_conf.read_text()
    os.kill(pid, signal.SIGKILL)
    host.processes[-1].wait(30)
    assert one.resolv_conf.read_text() == as_made
    pid = one.start()
    apply(host, manifest(pid))
    assert one.resolv_conf.read_text() == as_made
    assert ask(f"/proc/{pid}/ns/net", FRONT, "web").values == ("10.20.0.10",)
    host.netapply("destroy", "--project", "shop")
    assert whats_in(one.path / "etc") == {}


def test_it_goes_where_another_process_of_the_namespace_is_found_first(host: Machine) -> None:
    """As in a pod, whose first process is none of the container's."""
    one = root(host)
    first, _ = in_a_process(host, "true")
    words = f"echo ready && exec unshare --mount chroot {one.path} sleep 600"
    host.start(["nsenter", "--target", str(first), "--net", "sh", "-c", words])
    assert host.processes[-1].stdout
    assert host.processes[-1].stdout.readline() == "ready\n"
    second = host.processes[-1].pid
    while os.readlink(f"/proc/{second}/root") != str(one.path):
        assert host.processes[-1].poll() is None
    apply(host, manifest(second))
    assert f"nameserver {FRONT}\n" in one.resolv_conf.read_text()
    host.netapply("destroy", "--project", "shop")
    assert whats_in(one.path / "etc") == {}


@pytest.mark.parametrize("content", ["", "nameserver 192.0.2.53\n"], ids=["empty", "of the image"])
def test_a_file_that_somebody_else_made_is_left_alone_and_that_is_said(host: Machine, content: str) -> None:
    one = root(host)
    one.resolv_conf.write_text(content)
    pid = one.start()
    said = host.netapply("-", stdin=manifest(pid)).stdout
    assert "note: no names are found from app: the /etc/resolv.conf there is none that a runtime keeps" in said
    assert f"write `nameserver {FRONT}` into it" in said
    assert one.resolv_conf.read_text() == content
    one.resolv_conf.write_text(f"nameserver {FRONT}\n")  # as is said
    assert "no names are found" not in host.netapply("plan", "-", stdin=manifest(pid)).stdout
    host.netapply("destroy", "--project", "shop")
    assert one.resolv_conf.read_text() == f"nameserver {FRONT}\n"


def test_what_somebody_puts_in_the_place_of_ours_stays_when_ours_would_go(host: Machine) -> None:
    one = root(host)
    apply(host, manifest(one.start()))
    one.resolv_conf.write_text("nameserver 192.0.2.53\n")
    host.netapply("destroy", "--project", "shop")
    assert whats_in(one.path / "etc") == {"resolv.conf": "nameserver 192.0.2.53\n"}


def test_a_root_that_can_not_be_written_to_gets_no_file(host: Machine) -> None:
    one = root(host)
    host.run(f"mount -o remount,ro {one.path}")
    said = host.netapply("-", stdin=manifest(one.start())).stdout
    assert "note: no names are found from app: there is no /etc/resolv.conf" in said
    assert not one.resolv_conf.exists()


def test_two_containers_in_one_root_get_no_file_since_it_could_not_say_both(host: Machine) -> None:
    one = root(host)
    text = TWO.replace("PID", str(one.start())).replace("MORE", str(one.start()))
    said = host.netapply("-", stdin=text).stdout
    assert "no names are found from app, more: several containers of the manifest share one" in said
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    assert not one.resolv_conf.exists()


def test_the_hosts_own_etc_is_never_written_to_whatever_its_root_is(host: Machine) -> None:
    """A host may live in an overlay itself: here by a look from within."""
    one = root(host)
    pid = one.start()
    script = f"""
import os
from reconciler.host.dns import made
outside = made.can_be({pid})
os.chroot("{one.path}")
print(outside, made.can_be({pid}))
"""
    host.run(f"mount --bind /proc {one.path}/proc")
    assert host.run([sys.executable, "-c", script]).stdout == "True False\n"


def test_a_users_container_gets_a_file_that_is_the_users(host: Machine) -> None:
    """An overlay that was mounted in a user namespace takes no files of the host's root."""
    folder = Path("/run/users-own")
    for name in ("lower/etc", "lower/usr", "upper", "work", "merged"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (folder / "lower" / name).symlink_to(f"usr/{name}")
    host.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)])
    options = f"userxattr,lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    script = f"mount -t overlay overlay -o {options} {folder}/merged || exit 1; echo ready"
    script += f" && mount --rbind /usr {folder}/merged/usr && exec chroot {folder}/merged sleep 600"
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    process = host.start([*user, "unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", script])
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        pytest.skip("this kernel lets no user mount an overlay")
    while not os.readlink(f"/proc/{process.pid}/root").endswith("/merged"):
        assert process.poll() is None
    apply(host, manifest(process.pid))
    made = folder / "upper/etc/resolv.conf"
    assert f"nameserver {FRONT}\n" in made.read_text()
    assert made.stat().st_uid == NOBODY
    assert os.geteuid() == 0
    host.netapply("destroy", "--project", "shop")
    assert not made.is_file()


def operations(start: Manifest, end: Manifest) -> list[int]:
    """Return which operations of going from one to the other are about the file. The host is as at the start, then."""
    told: list[str] = []
    for manifest in (end, start):  # that `lo` is up stays
        engine.converge(manifest, LinuxHost(), OPTIONS)
    engine.converge(end, LinuxHost(trap=told.append), OPTIONS)
    engine.converge(start, LinuxHost(), OPTIONS)
    mine = [at for at, what in enumerate(told) if "resolv.conf" in what]
    return [*mine, len(told) - 1]


def test_whichever_operation_fails_there_is_the_file_as_before_or_none(host: Machine, tmp_path: Path) -> None:
    one = root(host)
    text = manifest(one.start())
    without, wanted = loaded(tmp_path, text.partition("  app:")[0]), loaded(tmp_path, text)
    searching = loaded(tmp_path, text.replace("  app: {", "  app: {dns: {search: example.org}, "))
    for start, end in ((without, wanted), (wanted, searching), (wanted, without)):
        at_these = operations(start, end)
        assert len(at_these) > 1
        as_before = whats_in(one.path / "etc")
        for at in at_these:
            with pytest.raises(ApplyFailed, match="the host is as it was before"):
                engine.converge(end, LinuxHost(trap=Counting(at, raising(errno.EBUSY))), OPTIONS)
            assert whats_in(one.path / "etc") == as_before, f"failed at operation {at}"


@pytest.mark.thorough
def test_a_run_that_is_killed_leaves_nothing_that_the_next_one_does_not_mend(host: Machine, tmp_path: Path) -> None:
    one = root(host)
    text = manifest(one.start())
    without, wanted = loaded(tmp_path, text.partition("  app:")[0]), loaded(tmp_path, text)
    searching = loaded(tmp_path, text.replace("  app: {", "  app: {dns: {search: example.org}, "))
    for start, end in ((without, wanted), (wanted, searching), (wanted, without)):
        for at in operations(start, end):
            for then in (start, end):
                engine.converge(start, LinuxHost(), OPTIONS)
                assert os.WIFSIGNALED(run_in_a_child(end, Counting(at, kill)))
                engine.converge(then, LinuxHost(), OPTIONS)
                assert not engine.plan(then, LinuxHost(), OPTIONS).plan
                names = set() if then is without else {"resolv.conf"}
                assert whats_in(one.path / "etc").keys() == names, f"killed at operation {at}"
    engine.converge(wanted, LinuxHost(), OPTIONS)
    (one.path / "etc" / DRAFT).write_text(one.resolv_conf.read_text())  # between giving it its name and this
    assert engine.converge(wanted, LinuxHost(), OPTIONS).plan
    assert whats_in(one.path / "etc").keys() == {"resolv.conf"}
