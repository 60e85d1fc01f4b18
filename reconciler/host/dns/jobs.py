"""One change to the names on the host, in steps of which each leaves what a later run can heal."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ...errors import NetapplyError, OperationFailed
from ...plan import Change, Create, Delete
from ...resources import DnsHosts, DnsServer, ResolvConf
from ..locking import DIRECTORY
from ..namespaces import Trap
from ..observing import Inventory
from ..sandboxes import Sandboxes
from ..steps import Runner
from . import SANDBOXES, configuration, folder, names_file, processes, resolvconf, unread_file


def make(change: Change, inventory: Inventory, runner: Runner, sandboxes: Sandboxes) -> None:
    """Make a change. Raises OSError and NetapplyError."""
    new, trap = isinstance(change, Create), runner.trap
    match change.before if isinstance(change, Delete) else change.after:
        case DnsHosts() as names if isinstance(change, Delete):
            _forget(names, inventory, trap)
        case DnsHosts() as names:
            _write(names, inventory, trap, new)
        case DnsServer() as server if isinstance(change, Delete):
            _stop(server, inventory, trap, sandboxes)
        case DnsServer() as server:
            _start(server, inventory, runner, sandboxes, new)
        case ResolvConf() as one if not one.reference.startswith("netns:"):
            from . import mounted

            (mounted.remove if isinstance(change, Delete) else mounted.write)(one, inventory, trap)
        case ResolvConf() as one if isinstance(change, Delete):
            resolvconf.remove(one, inventory, trap)
        case ResolvConf() as one:
            resolvconf.write(one, inventory, trap, new)
        case other:
            raise TypeError(f"{other} has nothing to do with names")


def _write(names: DnsHosts, inventory: Inventory, trap: Trap, new: bool) -> None:
    """Write the names of a network and have them read. While that is not done, a file says so."""
    host, project = inventory.host, inventory.project
    path, unread = names_file(host, project, names.network), unread_file(host, project, names.network)
    readers = inventory.readers.get(names.network, {})
    _exists(path, names, not new)
    if readers:
        trap(f"note that the names of {names.network} are unread")
        place(unread, "")
    trap(f"write the names of {names.network}")
    place(path, "".join(f"{record}\n" for record in names.records))
    for conf, pids in readers.items():
        trap(f"have the names of {names.network} read")
        processes.reload(conf, pids)
    processes.until_reloaded(pid for pids in readers.values() for pid in pids)
    if os.path.exists(unread):
        trap(f"note that the names of {names.network} are read")
        os.unlink(unread)
        with suppress(OSError):
            os.rmdir(os.path.dirname(unread))


def _forget(names: DnsHosts, inventory: Inventory, trap: Trap) -> None:
    host, project = inventory.host, inventory.project
    _exists(names_file(host, project, names.network), names, True)
    trap(f"remove the names of {names.network}")
    with suppress(FileNotFoundError):
        os.unlink(unread_file(host, project, names.network))
    os.unlink(names_file(host, project, names.network))
    _tidy(host, project)


def _start(server: DnsServer, inventory: Inventory, runner: Runner, sandboxes: Sandboxes, new: bool) -> None:
    """Start a resolver; one that runs with another configuration ends first, since both want the same addresses.

    One in a sandbox is in its network namespace, and in all else on the host: it reads its files here.
    """
    host, project, trap = inventory.host, inventory.project, runner.trap
    conf = configuration.file_of(host, project, server.name)
    _exists(conf, server, not new)
    trap(f"end the resolver of {server.name}")
    processes.stop(conf, inventory.resolvers.get(conf, ()), sandboxes.keep)
    trap(f"write the configuration of the resolver of {server.name}")
    place(conf, configuration.text(server, host, project))
    trap(f"start the resolver of {server.name}")
    try:
        with runner.inside(server.sandbox):
            processes.start(conf)
    except NetapplyError as failure:
        if new:
            os.unlink(conf)
        number = failure.errno if isinstance(failure, OperationFailed) else 0
        raise OperationFailed(f"the resolver of {server.name}: {failure}", number) from failure


def _stop(server: DnsServer, inventory: Inventory, trap: Trap, sandboxes: Sandboxes) -> None:
    host, project = inventory.host, inventory.project
    conf = configuration.file_of(host, project, server.name)
    trap(f"end the resolver of {server.name}")
    processes.stop(conf, inventory.resolvers.get(conf, ()), sandboxes.keep)
    trap(f"remove the configuration of the resolver of {server.name}")
    with suppress(FileNotFoundError):
        os.unlink(conf)
    _tidy(host, project)


def _exists(path: str, resource: DnsHosts | DnsServer, expected: bool) -> None:
    """Raise OperationFailed where something is there, or not, though it should not be, or should."""
    if os.path.lexists(path) is not expected:
        number = errno.ENOENT if expected else errno.EEXIST
        raise OperationFailed(f"{resource.key}: {os.strerror(number)} ({errno.errorcode[number]})", number)


def place(path: str, text: str) -> None:
    """Write a file that everybody may read, in one step. Raises OSError."""
    _open_to_all(os.path.dirname(path))
    draft = f"{os.path.dirname(path)}/.{os.path.basename(path)[:200]}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask: a resolver reads it with no rights of its own
        file.write(text)
    os.replace(draft, path)


def _open_to_all(inside: str) -> None:
    """Make a folder. Those of ours on the way to it may be entered by a resolver without rights, whatever the umask."""
    os.makedirs(inside, mode=0o755, exist_ok=True)
    while inside.startswith(DIRECTORY):
        if stat.S_IMODE(os.stat(inside).st_mode) != 0o755:
            os.chmod(inside, 0o755)
        inside = os.path.dirname(inside)


def _tidy(host: int, project: str) -> None:
    """Remove the folders with the last file."""
    own = folder(host, project)
    with suppress(OSError):
        for inside in ("unread", "names", "resolvers", SANDBOXES):
            with suppress(OSError):
                os.rmdir(f"{own}/{inside}")
        os.rmdir(own)
        os.rmdir(os.path.dirname(own))
