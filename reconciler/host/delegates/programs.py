"""CNI plugins as programs: where they are, whether they may be run, and one call of one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ...errors import HostLacks, OperationFailed
from . import trust

OUTPUT_LIMIT = 1 << 20
"""Bytes that a plugin may print; results have some hundred."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN = 2000


class Refusal(OperationFailed):
    """A plugin answered that it failed. `code` is that of its answer, 0 where it has none."""

    def __init__(self, what: str, code: int = 0) -> None:
        self.code = code
        super().__init__(what)


def found(kind: str, folders: Sequence[str]) -> str:
    """Return the path of a plugin. Raises HostLacks if it is nowhere, or somebody else could have put it there."""
    for folder in folders:
        path = f"{folder}/{kind}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            trust.demand(path, f"CNI plugin {kind} ({path})")
            return path
    mend = "install it (Debian's containernetworking-plugins has the usual ones), or say where it is in bin_dirs"
    raise HostLacks(f"there is no CNI plugin {kind} in {', '.join(folders)}; {mend}")


def call(
    command: str,
    kind: str,
    request: Mapping[str, Any],
    environ: Mapping[str, str],
    folders: Sequence[str],
    timeout: float,
    inherited: Sequence[int] = (),
) -> bytes:
    """Return what a plugin prints for a command, given its configuration. Descriptors in `inherited` are passed on.

    Raises Refusal for its own error, OperationFailed if it is too slow (`timeout`: seconds), prints too much or can't
    be run, and HostLacks as `found`.
    """
    import subprocess

    from ..executables import Conversation

    path = found(kind, folders)
    label = f"CNI plugin {kind} ({path})"
    settings = {"PATH": _PATH, "CNI_COMMAND": command, "CNI_PATH": ":".join(filter(os.path.isdir, folders)), **environ}
    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            [path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=settings,
            pass_fds=inherited,
            start_new_session=True,
        )
    except OSError as failure:
        raise OperationFailed(f"{label} can't be started: {failure.strerror}", failure.errno or 0) from failure
    talk = Conversation(process, json.dumps(request).encode(), OUTPUT_LIMIT)
    try:
        talk.hold(deadline)
    finally:
        talk.end()
    if not (fault := talk.fault(timeout)):
        return bytes(talk.output)
    what = f"{label} failed at {command}: "
    if talk.late or talk.too_much:
        raise OperationFailed(what + fault)
    raise _refusal(what, fault, bytes(talk.output), talk.complaints)


def _refusal(what: str, fault: str, output: bytes, complaints: bytes) -> Refusal:
    """Return the error of a plugin that ended with one: its own words if it has any (CNI specification, "Error")."""
    try:
        answer = json.loads(output)
        words = [str(answer[key]) for key in ("msg", "details") if answer.get(key)]
        code = int(answer.get("code", 0))
    except (ValueError, AttributeError, TypeError):
        words, code = [], 0
    said = ": ".join(words) or complaints.decode("utf-8", "replace").strip()[-_SHOWN:] or fault
    plain = "".join(sign if sign.isprintable() else " " for sign in said)
    return Refusal(what + plain + (f" (code {code})" if code else ""), code)


@cache
def versions(kind: str, path: str, modified: int) -> tuple[str, ...]:
    """Return the versions of the specification that a plugin knows. `modified`: when its file was, in nanoseconds."""
    folder = os.path.dirname(path)
    answer = call("VERSION", kind, {"cniVersion": "1.0.0"}, {}, (folder,), 10)
    try:
        return tuple(str(one) for one in json.loads(answer)["supportedVersions"])
    except (ValueError, KeyError, TypeError) as failure:
        raise HostLacks(f"CNI plugin {kind} ({path}) does not say which versions it knows; replace it") from failure
