"""nftables: whole tables as text, in the calling thread's network namespace.

libnftables does it in this process; where it is missing, the `nft` program. Nothing newer than nft 1.0.6 is used.
What was listed before is remembered under /run/netapply: by the ruleset's generation, which the kernel raises on
every commit, so that a match proves the listing still holds; and, for desired texts, by their digest. A run that
finds all there loads neither library nor program. Losing the file costs time and changes no result.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from ..errors import HostLacks, NotPermitted, OperationFailed
from .namespaces import RIGHTS, refuse, unshare

if TYPE_CHECKING:
    import ctypes

T = TypeVar("T")

CACHE = "/run/netapply/nft.json"

LIBRARY, PROGRAM = "libnftables.so.1", "nft"

PROGRAM_TIMEOUT = 60.0
"""Seconds that the program may take."""

_REMEMBERED = 4096
"""How many texts and how many namespaces are remembered, the latest ones."""

_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}  # NFPROTO_* of linux/netfilter.h
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10 << 8
_GETTABLE, _GETGEN = 1, 16  # linux/netfilter/nf_tables.h
_TABLE_NAME, _GEN_ID = 1, 1
_NLMSG_ERROR = 2
_SO_NETNS_COOKIE = 71

_IN_THE_LIBRARY = threading.Lock()
"""One thread at a time: the names of protocols are in one place for all of them (getprotobynumber(3)), so that of two
listings at once one had the other's."""

_LACKING = "nftables is missing; install it (apt install nftables)"
_NO_KERNEL = "the kernel has no nftables; load its module (modprobe nf_tables)"


def read(family: str, name: str) -> str | None:
    """Return the table as `nft -s list table` prints it, None if there is none.

    Raises HostLacks, NotPermitted and OperationFailed, as all functions here do.
    """
    table = f"{family} {name}"
    cookie, before = _cookie(), generation()
    memory = _Memory.load()
    known = memory.listed.get(cookie)
    if known and known[0] == before and table in known[1]:
        return known[1][table]
    text = listing(family, name)
    if generation() == before:  # nobody edited meanwhile
        memory.keep_listing(cookie, before, table, text)
    return text


def canonical(text: str) -> str:
    """Return the table in the form in which `read` would report it once it is there."""
    memory, key = _Memory.load(), hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()
    if key in memory.canonical:
        return memory.canonical[key]
    family, name = text.split(None, 3)[1:3]

    def load_and_list() -> str:
        run(text)
        return run(f"list table {family} {name}")

    listed = in_scratch_namespace(load_and_list)
    memory.keep_canonical(key, listed)
    return listed


def replace(family: str, name: str, text: str) -> None:
    """Put the table there, in place of one of its name, in one transaction: all of it or, on failure, nothing."""
    run(f"add table {family} {name}\ndelete table {family} {name}\n{text}")


def delete(family: str, name: str) -> None:
    """Remove the table. OperationFailed with ENOENT if there is none."""
    run(f"delete table {family} {name}")


def generation() -> int:
    """Return the number of the current ruleset: 32 bits, another one after each edit of whatever table by whomever."""
    reply = _ask(_GETGEN, 0)
    offset = 20  # struct nlmsghdr and struct nfgenmsg
    while offset + 4 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, offset)
        if kind == _GEN_ID:
            return int(struct.unpack_from(">I", reply, offset + 4)[0])
        offset += max(length + 3 & ~3, 4)
    raise OperationFailed("the kernel does not say which nftables ruleset is current")


def listing(family: str, name: str) -> str | None:
    """List the table without looking into what is remembered."""
    label = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(label), _TABLE_NAME) + label
    try:
        _ask(_GETTABLE, _FAMILIES[family], attribute + bytes(-len(attribute) % 4))
        return run(f"list table {family} {name}")
    except OperationFailed as failure:
        if failure.errno == errno.ENOENT:
            return None
        raise


def _ask(message: int, family: int, attributes: bytes = b"") -> bytes:
    """Send one request to the kernel's nf_tables and return the first message of the answer, header and all."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as door:
            door.settimeout(10)
            header = struct.pack("=IHHII", 20 + len(attributes), _NFNL_SUBSYS_NFTABLES | message, 1, 1, 0)
            door.sendto(header + struct.pack("=BBH", family, 0, 0) + attributes, (0, 0))
            reply = door.recv(65536)
    except TimeoutError as late:
        raise OperationFailed("the kernel's nftables does not answer", errno.ETIMEDOUT) from late
    except OSError as failure:
        _give_up(failure.errno or 0, f"nftables: {failure.strerror}")
    if struct.unpack_from("=H", reply, 4)[0] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", reply, 16)[0]
        if number:
            _give_up(number, f"nftables: {os.strerror(number)}")
    return reply


def _give_up(number: int, what: str) -> NoReturn:
    if number in (errno.EPERM, errno.EACCES):
        raise NotPermitted(f"nftables: not permitted; {RIGHTS}")
    if number in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
        raise HostLacks(_NO_KERNEL)  # EINVAL: nfnetlink knows no such subsystem
    raise OperationFailed(what, number)


def _cookie() -> str:
    """Return what identifies the current network namespace until the machine restarts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        return str(struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])


def run(commands: str) -> str:
    """Run nft commands as one transaction and return what they print, stateless."""
    generation()  # without rights, or without nftables in the kernel, the library would end the process
    library = _library()
    if library:
        with _IN_THE_LIBRARY:
            failed, output, complaint = _run_in(library, commands)
    else:
        failed, output, complaint = _run_program(commands)
    if failed:
        _complain(complaint)
    return output


def _run_in(library: ctypes.CDLL, commands: str) -> tuple[bool, str, str]:
    context = library.nft_ctx_new(0)
    if not context:
        raise OperationFailed("libnftables gives no context", errno.ENOMEM)
    try:
        library.nft_ctx_output_set_flags(context, 1 << 2)  # NFT_CTX_OUTPUT_STATELESS
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        failed = library.nft_run_cmd_from_buffer(context, os.fsencode(commands)) != 0
        output = os.fsdecode(library.nft_ctx_get_output_buffer(context) or b"")
        complaint = os.fsdecode(library.nft_ctx_get_error_buffer(context) or b"")
    finally:
        library.nft_ctx_free(context)
    return failed, output, complaint


def _run_program(commands: str) -> tuple[bool, str, str]:
    import subprocess

    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # cron's and a plain user's have no sbin
    try:
        done = subprocess.run(
            [PROGRAM, "-s", "-f", "-"],
            input=os.fsencode(commands),
            capture_output=True,
            timeout=PROGRAM_TIMEOUT,
            env={"PATH": path, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError as missing:
        raise HostLacks(_LACKING) from missing
    except subprocess.TimeoutExpired as late:
        raise OperationFailed(f"nft did not end within {PROGRAM_TIMEOUT:.0f} seconds", errno.ETIMEDOUT) from late
    return done.returncode != 0, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


def _complain(complaint: str) -> NoReturn:
    """Raise what nft's complaint means; the library tells no errno, only the kernel's words."""
    first = next((line for line in complaint.splitlines() if "Error: " in line), complaint.strip() or "no reason given")
    what = (first.partition("Error: ")[2] or first).removeprefix("Could not process rule: ")
    number = next((code for code in errno.errorcode if what.startswith(os.strerror(code))), 0)
    if number == errno.EPERM:
        raise NotPermitted(f"nftables: not permitted; {RIGHTS}")
    raise OperationFailed(f"nftables: {what}", number)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Return libnftables with its functions declared, None if the host has none."""
    import ctypes

    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("buffer_output", "buffer_error"):
        getattr(library, f"nft_ctx_{name}").argtypes = [ctypes.c_void_p]
        getter = getattr(library, f"nft_ctx_get_{name.split('_')[1]}_buffer")
        getter.argtypes, getter.restype = [ctypes.c_void_p], ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [ctypes.c_void_p], None
    return library


def in_scratch_namespace(task: Callable[[], T]) -> T:
    """Return what the task returns in a network namespace of its own, made for a thread and gone with it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            unshare()
            results.append(task())
        except BaseException as failure:  # noqa: BLE001 - it is raised again, in the thread that asked
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for failure in failures:
        raise refuse(failure, "a scratch network namespace") if isinstance(failure, OSError) else failure
    return results[0]


class _Memory(NamedTuple):
    """What is remembered: desired texts' listings by digest, and listings by namespace cookie with their generation.

    `witnesses` are the kernel and the files that the listings depend on; when one of them changed, all is forgotten.
    """

    canonical: dict[str, str]
    listed: dict[str, tuple[int, dict[str, str | None]]]
    witnesses: Mapping[str, object]

    @staticmethod
    def load() -> _Memory:
        """Return what the file says; nothing if it is missing, unreadable or outdated."""
        try:
            with open(CACHE, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            return _Memory({}, {}, {})
        import json

        try:
            raw: Any = json.loads(text)
            if raw["witnesses"] == {name: state_of(name) for name in raw["witnesses"]}:
                listed = {cookie: (number, tables) for cookie, (number, tables) in raw["listed"].items()}
                return _Memory(raw["canonical"], listed, raw["witnesses"])
        except (ValueError, LookupError, TypeError, AttributeError):
            pass  # half-written or of another version
        return _Memory({}, {}, {})

    def keep_canonical(self, key: str, text: str) -> None:
        self.canonical[key] = text
        self._save()

    def keep_listing(self, cookie: str, number: int, table: str, text: str | None) -> None:
        known = self.listed.pop(cookie, None)  # popped: the latest come last
        self.listed[cookie] = (number, {**(known[1] if known and known[0] == number else {}), table: text})
        self._save()

    def _save(self) -> None:
        """Write the file, whole or not at all. Where it can't be written the next run is slower."""
        import json

        content = {
            "witnesses": self.witnesses or {name: state_of(name) for name in witnesses()},
            "canonical": dict(list(self.canonical.items())[-_REMEMBERED:]),
            "listed": dict(list(self.listed.items())[-_REMEMBERED:]),
        }
        draft = f"{CACHE}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(CACHE), mode=0o755, exist_ok=True)
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(draft, CACHE)
        except OSError:
            return


def witnesses() -> list[str]:
    """Return what the form of a listing depends on: the kernel, nft and the names that it gives to numbers."""
    names = ["kernel", "/etc/ld.so.cache", "/etc/iproute2/group", "/usr/share/iproute2/group"]
    if _library():
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            names += sorted({line.split()[-1] for line in maps if "libnftables" in line})
    else:
        names += ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"]
    return names


def state_of(witness: str) -> object:
    """Return what changes when the witness does, as JSON has it."""
    if witness == "kernel":
        return os.uname().release
    try:
        status = os.stat(witness)
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]
