"""Containers of bare OCI runtimes in a lab: no engine, a bundle and a runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .lab import Lab


@dataclass
class Runtime:
    """runc or crun, with a folder for its state where it is not to be the default one."""

    lab: Lab
    rootfs: Path
    program: str
    root: str = ""

    def __call__(self, *words: str, check: bool = True) -> str:
        return self.lab.run([self.program, *(["--root", self.root] if self.root else []), *words], check=check).stdout

    def create(self, name: str) -> None:
        """Make a container whose process waits to be started; its namespace is there."""
        bundle = self.lab.folder / f"bundle-{name}"
        bundle.mkdir()
        self.lab.run(["runc", "spec", "--bundle", str(bundle)])
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"] = {"path": str(self.rootfs), "readonly": True}
        spec["process"] |= {"terminal": False, "args": ["sleep", "100000"]}
        spec["linux"]["cgroupsPath"] = f"/lab/{name}"
        (bundle / "config.json").write_text(json.dumps(spec))
        command = [self.program, *(["--root", self.root] if self.root else []), "create", "--bundle", str(bundle), name]
        self.lab.run(
            ["sh", "-c", f"{' '.join(command)} < /dev/null > {bundle}/out 2>&1 || {{ cat {bundle}/out; exit 1; }}"]
        )

    def run(self, name: str) -> int:
        self.create(name)
        self("start", name)
        return self.pid(name)

    def pid(self, name: str) -> int:
        return int(json.loads(self("state", name))["pid"])
