"""Drivers of others, put where netapply finds them: packages with an entry point, executables in a folder."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.drivers import ENTRY_POINTS

ROOT = Path(__file__).parents[1]


def code(page: str, language: str = "python") -> str:
    """Return the first block of a language that a page of docs/ shows."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    return str(next(text for name, text in blocks if name == language))


def package(folder: Path, name: str, text: str, version: str = "1.0", driver: str | None = None) -> None:
    """Install a package netapply-NAME that is one module with a driver, in a folder that is on sys.path."""
    module = f"netapply_{name}"
    (folder / f"{module}.py").write_text(text)
    sys.modules.pop(module, None)
    about = folder / f"{module}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: netapply-{name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{driver or name} = {module}\n")


def executable(folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
    """Put an executable into a folder."""
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def of_the_examples(folder: Path) -> dict[str, str]:
    """Put the drivers of manifests/ into a folder; returns the variables by which netapply finds them there."""
    examples = ROOT / "manifests"
    with (examples / "python-driver/pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    ((driver, module),) = project["entry-points"][ENTRY_POINTS].items()
    name = project["name"].removeprefix("netapply-")
    assert module == f"netapply_{name}"
    package(folder, name, (examples / f"python-driver/{module}.py").read_text(), project["version"], driver)
    executable(folder, "star", (examples / "exec-driver/star").read_text())
    return {"PYTHONPATH": str(folder), "NETAPPLY_DRIVER_PATH": str(folder)}


def answering(replies: Mapping[str, Any]) -> str:
    """Return a driver that answers each kind of request with a fixed reply, whatever is asked."""
    texts = {request: json.dumps(reply) for request, reply in replies.items()}
    return f"#!/usr/bin/env python3\nimport json, sys\nprint({texts!r}[json.load(sys.stdin)['request']])\n"
