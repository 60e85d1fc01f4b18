"""The real systemd-machined and systemd-nspawn in a lab, without a systemd that has booted it."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .lab import Lab, child, wait

MACHINED = "/lib/systemd/systemd-machined"
FOLDER = "/run/systemd/machines"
READY = "/run/systemd/userdb/io.systemd.Machine"
"""A socket that machined listens on once it is on the bus."""

SCOPE = "machine.slice/machine-{}-{}.scope"
"""The control group by which machined knows what a machine is: systemd would make it for systemd-nspawn.

Control groups are the machine's own, so that a lab has to have others than the next one.
"""

NSPAWN = (
    "mkdir -p {group} && echo $$ > {group}/cgroup.procs && exec systemd-nspawn --quiet --keep-unit --register=yes"
    " --private-network --machine={name} --directory={root} --as-pid2 /bin/sleep 100000"
)


@dataclass
class Machined:
    """machined with a message bus of its own, and machines of busybox."""

    lab: Lab
    rootfs: Path
    machines: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def start(self) -> None:
        for folder in ("usr", "var", "root", "sbin"):
            (self.rootfs / folder).mkdir(exist_ok=True)
        (self.rootfs / "etc/os-release").write_text("ID=lab\n")
        self.lab.run("mkdir -p /run/dbus")
        self.lab.start(["dbus-daemon", "--system", "--nofork", "--nopidfile"], "dbus.log")
        wait("the message bus", lambda: self._succeeds("test -S /run/dbus/system_bus_socket"))
        self.lab.start([MACHINED], "machined.log")
        wait("machined", lambda: self._succeeds(f"test -S {READY}"))

    def run(self, name: str) -> int:
        """Start a machine and return its leader, by its number in the lab."""
        self.names.add(name)
        words = {"group": self._group(name), "name": name, "root": self.rootfs}
        self.machines[name] = self.lab.start(["sh", "-c", NSPAWN.format(**words)], f"{name}.log")
        wait(f"machine {name}", lambda: self.leader(name))
        return self.leader(name)

    def leader(self, name: str) -> int:
        """Return what machined says, 0 where it knows no such machine."""
        said = self.lab.run(["cat", f"{FOLDER}/{name}"], check=False).stdout
        return int(dict(line.split("=", 1) for line in said.splitlines() if "=" in line).get("LEADER", 0))

    def stop(self, name: str) -> None:
        """End a machine as `poweroff` in it does: systemd-nspawn tells machined."""
        leader = self.leader(name)
        assert leader, f"machined does not know {name}"
        self.lab.run(["kill", "-KILL", str(leader)])
        self.machines.pop(name).wait(30)
        wait("the end of the machine", lambda: not self.leader(name))

    def kill(self, name: str) -> None:
        """Kill systemd-nspawn, which takes the machine along and tells nobody."""
        process = self.machines.pop(name)
        if pid := child(process.pid):  # to signal 0 is to signal everybody
            os.kill(pid, signal.SIGKILL)
        process.wait(30)

    def clean(self) -> None:
        """Take away the control groups, which outlive the lab."""
        for name in list(self.machines):
            self.kill(name)
        for name in self.names:
            self.lab.run(["find", self._group(name), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)
        self.lab.run(["rmdir", f"{self._groups()}/machine.slice"], check=False)  # unless others have machines in it

    def _group(self, name: str) -> str:
        return f"{self._groups()}/{SCOPE.format(name, self.lab.pid)}"

    def _groups(self) -> str:
        return "/sys/fs/cgroup/systemd" if self._succeeds("test -d /sys/fs/cgroup/systemd") else "/sys/fs/cgroup"

    def _succeeds(self, command: str) -> bool:
        return self.lab.run(command, check=False).returncode == 0
