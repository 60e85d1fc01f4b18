"""The command `netapply doctor`: what it prints, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence

from . import api
from .doctor import ERROR, WARNING, worst
from .engine import Options
from .errors import HostLacks, NotPermitted
from .host import Host
from .output import put
from .report import doctor as report
from .report.terminal import View


def diagnose(
    files: Sequence[str], host: Host, here: str | None, as_json: bool, detailed_exitcode: bool, view: View
) -> int:
    """Print what is found and return the exit code: 69 where what is needed is lacking, 77 where nothing may be known,
    with `detailed_exitcode` 2 for warnings, else 0.

    Raises ManifestError for a manifest that is wrong on any host.
    """
    manifest = api.load(*files) if files else None
    found, versions = api.doctor(manifest, host, Options(here=here))
    put(report.as_json(found, versions) if as_json else report.text(found, view))
    severity = worst(found)
    if severity == ERROR:
        blind = any(one.subject == "capabilities" and one.severity == ERROR for one in found)
        return NotPermitted.exit_code if blind else HostLacks.exit_code
    return 2 if severity == WARNING and detailed_exitcode else 0
