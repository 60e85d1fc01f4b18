"""The real dockerd in a lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .lab import IMAGE, Completed, Lab, archive, wait

DOCKER = "/usr/bin/docker"
"""Debian's, which speaks the daemon's version."""

SOCKET = "/run/docker.sock"


@dataclass
class Docker:
    """A dockerd, with an image of busybox."""

    lab: Lab

    def start(self) -> None:
        data = self.lab.folder / "docker"
        words = (
            f"/usr/sbin/dockerd --data-root {data} --exec-root /run/docker --pidfile /run/docker.pid -H unix://{SOCKET}"
        )
        self.lab.start(["env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words.split()], "dockerd.log")
        wait("dockerd", lambda: self("version", check=False).returncode == 0)

    def load(self, rootfs: Path) -> None:
        self.lab.run([DOCKER, "import", "-", IMAGE], stdin=archive(rootfs))

    def __call__(self, *words: str, check: bool = True) -> Completed:
        return self.lab.run([DOCKER, "-H", f"unix://{SOCKET}", *words], check=check)

    def run(self, name: str, *options: str, command: Sequence[str] = ("sleep", "100000")) -> int:
        """Start a container and return its process, by its number in the lab. Without other options: on no network."""
        self("run", "-d", "--name", name, *(options or ("--network", "none")), IMAGE, *command)
        return self.pid(name)

    def pid(self, name: str) -> int:
        return int(self("inspect", "--format", "{{.State.Pid}}", name).stdout)

    def pause_daemon(self) -> None:
        """Have dockerd hang: it listens, and never answers."""
        self.lab.run(["sh", "-c", "kill -STOP $(cat /run/docker.pid)"])

    def resume_daemon(self) -> None:
        self.lab.run(["sh", "-c", "kill -CONT $(cat /run/docker.pid)"])

    def remove_all(self) -> None:
        if names := self("ps", "-aq").stdout.split():
            self("rm", "-f", *names)
