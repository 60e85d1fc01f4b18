"""The real Podman in a lab, and its service."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .lab import IMAGE, Completed, Lab, archive, wait

SOCKET = "/run/podman/podman.sock"


USER = 65534
"""Who runs containers without root: somebody with no subordinate IDs, so that there is no need of newuidmap."""


@dataclass
class Podman:
    """Podman with netavark and a runtime, whose service listens. All that it keeps is in the lab's folder.

    `user`: it belongs to USER and not to root.
    """

    lab: Lab
    runtime: str = "crun"
    user: bool = False
    service: subprocess.Popen[bytes] = field(init=False)

    @property
    def folder(self) -> str:
        """Where it keeps everything: where its user may look, too."""
        return f"/run/user/{USER}" if self.user else f"{self.lab.folder}/podman"

    @property
    def socket(self) -> str:
        return f"/run/user/{USER}/podman.sock" if self.user else SOCKET

    def start(self) -> None:
        owner = ["-o", str(USER)] if self.user else []
        self.lab.run(["install", "-d", *owner, *(f"{self.folder}/{name}" for name in ("", "data", "networks"))])
        conf = f'[engine]\nruntime = "{self.runtime}"\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n'
        conf += f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{self.folder}/networks"\n'
        conf += '[containers]\ncgroups = "disabled"\n' if self.user else ""
        self.lab.run(["sh", "-c", f"cat > {self.folder}/containers.conf"], stdin=conf.encode())
        self.start_service()

    def start_service(self) -> None:
        self.lab.run("mkdir -p /run/podman")
        self.service = self.lab.start(
            self.words("system", "service", "--time=0", f"unix://{self.socket}"), "podman.log"
        )
        wait("Podman's service", lambda: self.lab.run(["test", "-S", self.socket], check=False).returncode == 0)

    def stop_service(self) -> None:
        self.lab.stop(self.service)
        self.lab.run(["rm", "-f", self.socket])

    def words(self, *words: str) -> list[str]:
        environ = ["env", f"CONTAINERS_CONF={self.folder}/containers.conf"]
        if self.user:
            become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
            home = [f"HOME={self.folder}/data", f"XDG_RUNTIME_DIR=/run/user/{USER}"]
            return [*become, *environ, *home, "podman", "--storage-driver", "vfs", *words]
        kept = f"--root {self.folder}/data --runroot /run/podman-lab --storage-driver overlay"
        return [*environ, "podman", *kept.split(), *words]

    def load(self, rootfs: Path) -> None:
        self.lab.run(self.words("import", "-q", "-", IMAGE), stdin=archive(rootfs))

    def __call__(self, *words: str, check: bool = True) -> Completed:
        return self.lab.run(self.words(*words), check=check)

    def run(self, name: str, *options: str, command: Sequence[str] = ("sleep", "100000")) -> int:
        """Start a container and return its process, by its number in the lab. Without other options: on no network."""
        self("run", "-d", "--name", name, *(options or ("--network", "none")), IMAGE, *command)
        return self.pid(name)

    def pid(self, name: str) -> int:
        return int(self("inspect", "--format", "{{.State.Pid}}", name).stdout)

    def remove_all(self) -> None:
        self("rm", "-af", "-t", "0")
        self("pod", "rm", "-af", "-t", "0")
