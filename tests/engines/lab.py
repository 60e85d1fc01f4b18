"""Hosts with real container engines in them: namespaces of their own for all but users, their own /run and cgroups.

What runs in such a host is ended with it: its first process is the first of its PID namespace. Nothing of the machine's
is touched but a folder for images and logs; /etc/netns is made where there is none. The tests themselves stay outside
and look in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.machine import Machine

Completed = subprocess.CompletedProcess[str]

ROOT = Path(__file__).parents[2]
NETAPPLY = (sys.executable, "-m", "reconciler")

BUSYBOX = Path("/bin/busybox")
IMAGE = "lab"
APPLETS = ("sh", "sleep", "cat", "ip", "ping", "nc", "true", "httpd", "wget", "nslookup")

ENTER = ("--net", "--mount", "--pid", "--uts", "--ipc", "--root")

PATIENCE = 30
"""Seconds within which an engine must be there, or a command done."""

SETUP = r"""
set -e
hostname lab
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/containers /etc/netns
mount -t tmpfs -o mode=755 tmpfs /etc/netns
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for one in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir /sys/fs/cgroup/$one
    mount -t cgroup -o $one cgroup /sys/fs/cgroup/$one || rmdir /sys/fs/cgroup/$one
done
if [ -d /sys/fs/cgroup/memory ]; then
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
ip link set lo up
echo $FORWARDING > /proc/sys/net/ipv4/ip_forward
: > /run/ready
exec /bin/busybox sh -c 'trap : TERM; while :; do sleep 3600 & wait; done'
"""
"""What makes a host of fresh namespaces. Its shell then reaps whoever is left behind."""


@dataclass
class Lab:
    """A host. `pid` is its first process, `folder` is for files; `environ` is added to what `netapply` gets."""

    pid: int
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, command: str | Sequence[str], *, check: bool = True, stdin: bytes | None = None) -> Completed:
        """Run a command in the host. With `check`, a failure is an AssertionError that shows what it printed."""
        words = self.words(shlex.split(command) if isinstance(command, str) else command)
        done = subprocess.run(
            words, input=stdin or b"", capture_output=True, timeout=PATIENCE * 2, env=self._environ(), check=False
        )
        result = Completed(words, done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace"))
        if check and result.returncode:
            said = f"{result.stdout}{result.stderr}"
            raise AssertionError(f"{shlex.join(words[-8:])} ended with {result.returncode}\n{said}")
        return result

    def words(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self.pid}", *ENTER, "--", "env", "-C", str(ROOT), *command]

    def start(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on until the host ends; what it prints is in a file of the folder.

        A terminal's Ctrl-C is not for it: who is interrupted may need it for tidying up.
        """
        with (self.folder / log).open("wb") as file:
            process = subprocess.Popen(
                self.words(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environ(),
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a command that was started."""
        if pid := child(process.pid):  # the process itself is nsenter, which waits for it; 0 would be everybody
            os.kill(pid, signal.SIGTERM)
        process.wait(PATIENCE)
        self.processes.remove(process)

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "CONTAINER_HOST")}
        return {**kept, "NO_COLOR": "1", **self.environ}

    def netapply(self, *arguments: str | Path, code: int = 0) -> str:
        """Run netapply, which must end with that code; returns what it printed to both streams."""
        done = self.run([*NETAPPLY, *map(str, arguments)], check=False)
        assert "Traceback" not in done.stderr, done.stderr
        said = done.stdout + done.stderr
        assert done.returncode == code, f"netapply ended with {done.returncode}, not {code}\n{said}"
        return said

    def manifest(self, text: str, name: str = "lab.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def json(self, command: str) -> Any:
        return json.loads(self.run(command).stdout or "[]")

    def netns(self, place: str | int) -> str:
        """Return the path, as seen from outside, of a namespace in the host: by its name, or a process in it."""
        return f"/proc/{self.pid}/root" + (f"/run/netns/{place}" if isinstance(place, str) else f"/proc/{place}/ns/net")

    def ping(self, place: str | int, address: str, *, within: float = 3.0) -> bool:
        """Whether an address answers to who is in a namespace of the host."""
        machine = Machine()
        answered = machine.ping(self.netns(place), address, within=within)
        for process in machine.processes:
            process.communicate(timeout=PATIENCE)
        return answered

    def tcp(
        self, client: str | int, server: str | int, address: str, port: int = 8000, *, target: int = 0
    ) -> str | None:
        """Connect from one namespace to an address of another; returns the client's address as the server sees it."""
        return Machine().tcp(self.netns(client), self.netns(server), address, port, target=target)

    def http(self, server: str | int, address: str, *client: str) -> str:
        """Have somebody fetch a page by busybox's wget; returns the client's address as the server sees it.

        A listener is opened in the server's namespace, at port 80. `client` is what to put before wget.
        """
        with Machine().socket(self.netns(server), "::", 80) as listener, ThreadPoolExecutor(1) as pool:
            listener.settimeout(PATIENCE)
            got = pool.submit(self.run, [*client, "wget", "-q", "-O", "-", f"http://{address}/"])
            accepted, peer = listener.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                accepted.recv(4096)
                accepted.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
            assert got.result().stdout == "hello"
            return str(peer[0]).removeprefix("::ffff:")

    def links(self, place: str | int | None = None) -> list[str]:
        """Return the names of the links in a namespace of the host, its own by default; `lo` aside."""
        where = f"/proc/{place}/ns/net" if isinstance(place, int) else f"/run/netns/{place}"
        enter = ["nsenter", f"--net={where}", "--"] if place is not None else []
        found = json.loads(self.run([*enter, "ip", "-j", "link"]).stdout)
        return [one["ifname"] for one in found if one["ifname"] != "lo"]

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()  # nsenter, which may have been stopped with what it waits for
            process.wait(PATIENCE)


@contextmanager
def lab(folder: Path, *, forwarding: bool = True) -> Iterator[Lab]:
    """Run the block with a new host, and end all of it afterwards.

    dockerd that finds forwarding off has the firewall drop what others forward, too.
    """
    namespaces = [*ENTER[:-1], "--fork", "--kill-child", "--propagation", "private", "--mount-proc"]
    with (folder / "host.log").open("wb") as log:
        outer = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "/bin/sh", "-c", SETUP],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "FORWARDING": str(int(forwarding))},
            start_new_session=True,
        )
    new = None
    try:
        wait("the host", lambda: child(outer.pid) and Path(f"/proc/{child(outer.pid)}/root/run/ready").exists())
        new = Lab(child(outer.pid), folder)
        yield new
    finally:
        if new:
            new.end()
        outer.kill()
        outer.wait(PATIENCE)


def wait(what: str, ready: Callable[[], object]) -> None:
    """Wait until something is there. AssertionError: it does not come."""
    until = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < until, f"{what} was not there after {PATIENCE} s"
        time.sleep(0.02)


def child(pid: int) -> int:
    """Return the first child of a process, 0 where it has none."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def missing(*programs: str) -> str | None:
    """Return why an engine can't run here, None if it can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [program for program in programs if shutil.which(program, path=path) is None]
    return f"needs {', '.join(lacking)}; run `.ci/deps engines`" if lacking else None


def rootfs(folder: Path) -> Path:
    """Make a root file system of busybox alone."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
        (folder / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "bin")
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return folder


def archive(folder: Path) -> bytes:
    """Return a folder as a tar file, which engines import as an image."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, arcname=".")
    return buffer.getvalue()
