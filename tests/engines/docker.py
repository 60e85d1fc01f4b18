"""The real dockerd in a lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .lab import IMAGE, Completed, Lab, archive, wait
from .podman import USER

DOCKER = "/usr/bin/docker"
"""Debian's, which speaks the daemon's version."""

SOCKET = "/run/docker.sock"


@dataclass
class Docker:
    """A dockerd, with an image of busybox. `user`: it belongs to USER and not to root."""

    lab: Lab
    user: bool = False

    @property
    def socket(self) -> str:
        return f"/run/user/{USER}/docker.sock" if self.user else SOCKET

    def start(self) -> None:
        if self.user:
            self._start_without_root()
            return
        data = self.lab.folder / "docker"
        words = (
            f"/usr/sbin/dockerd --data-root {data} --exec-root /run/docker --pidfile /run/docker.pid -H unix://{SOCKET}"
        )
        self.lab.start(["env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words.split()], "dockerd.log")
        wait("dockerd", lambda: self("version", check=False).returncode == 0)

    def _start_without_root(self) -> None:
        """Do what Docker's dockerd-rootless.sh does; what there is of it in /etc and /dev is the lab's own."""
        run = f"/run/user/{USER}"
        setup = f"""
            install -d -o {USER} {run} && mount -t tmpfs -o mode=755 tmpfs /mnt && install -d -o {USER} /mnt/docker
            for one in subuid subgid; do
                echo $(id -un {USER}):200000:65536 > /mnt/$one && mount --bind /mnt/$one /etc/$one
            done
            mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun
        """
        self.lab.run(["sh", "-ec", setup])
        daemon = f"exec dockerd --storage-driver vfs --data-root /mnt/docker --exec-root {run}/docker"
        daemon += f" --pidfile {run}/docker.pid -H unix://{self.socket}"
        become = f"setpriv --reuid={USER} --regid={USER} --clear-groups env HOME={run} XDG_RUNTIME_DIR={run}"
        kit = f"rootlesskit --state-dir {run}/kit --net=slirp4netns --mtu=65520 --slirp4netns-sandbox=false"
        kit += " --disable-host-loopback --copy-up=/etc --copy-up=/run sh -c"
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        command = f"rm -f /run/docker /run/containerd /run/xtables.lock; {daemon}"
        self.lab.start([*become.split(), path, *kit.split(), command], "rootless.log")
        wait("rootless dockerd", lambda: self("version", check=False).returncode == 0)

    def load(self, rootfs: Path) -> None:
        self.lab.run([DOCKER, "-H", f"unix://{self.socket}", "import", "-", IMAGE], stdin=archive(rootfs))

    def __call__(self, *words: str, check: bool = True) -> Completed:
        return self.lab.run([DOCKER, "-H", f"unix://{self.socket}", *words], check=check)

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
