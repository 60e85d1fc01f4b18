"""`make demo`: the voting app on an isolated host, from plan to destroy. Exits non-zero if anything is amiss.

Nothing of it touches the machine's own network: the host is a pair of namespaces that end with the demo.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.dns import ask
from tests.isolation import lacks
from tests.kernel.balanced import servers
from tests.machine import NETAPPLY, Machine, Outside, machine

ROOT = Path(__file__).parents[2]
MANIFEST = Path("manifests/voting-app.yaml")
PUBLISHED = Path("manifests/voting-app-published.yaml")
CONTAINERS = ("vote", "result", "worker", "redis", "db")
FRONT, BACK = "10.20.0.", "10.20.1."
EVERYWHERE = (*CONTAINERS, "host", "outside")

TERMINAL = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class Wrong(Exception):
    """Something is not as it must be."""


def main() -> int:
    """Run the demo. Returns the exit code."""
    if reason := lacks():
        print(f"the demo {reason}: it makes network namespaces", file=sys.stderr)
        return 77
    os.chdir(ROOT)
    started = time.monotonic()
    try:
        with machine() as host:
            act(host)
    except (Wrong, AssertionError) as failure:
        say(f"\n{paint('FAILED', 31)}: {failure}")
        return 1
    say(f"\n{paint('Everything is as it must be', 32)}, after {time.monotonic() - started:.1f} s.")
    return 0


def act(host: Machine) -> None:
    """The seven scenes, in order."""
    outside = host.outside()
    for subnet in ("10.20.0.0/24", "10.20.1.0/24"):  # the outside knows the way: only the firewall keeps it out
        host.run(f"ip route add {subnet} via {outside.host_ipv4}", netns=outside.name)

    heading("1. What would be done")
    netapply("plan", str(MANIFEST))
    expect(host.names() == ["outside"], "a plan changes nothing")

    heading("2. Do it")
    netapply(str(MANIFEST))
    expect(host.names() == sorted([*CONTAINERS, "outside"]), "there is a namespace for each container")

    heading("3. Who reaches whom")
    expect(show_pings(host, outside), "each reaches whom it must, and nobody else")
    seen = host.tcp("vote", outside.name, outside.ipv4)
    expect(seen == outside.host_ipv4, f"the outside sees vote as the host, {seen}")

    heading("4. Once more")
    netapply(str(MANIFEST), must_say="nothing to do")

    heading("5. Somebody breaks a link")
    link = link_of(host, "vote/back-tier")
    prompt(f"ip link delete {link}")
    host.run(f"ip link delete {link}")
    db = address_on(host, "db", BACK)
    expect(not host.ping("vote", db, within=0.5), "vote does not reach db now")
    netapply(str(MANIFEST))
    expect(host.ping("vote", db), "vote reaches db again")

    heading("6. As people use it: published, by name, three that take votes in turn")
    netapply("destroy", "-q", str(MANIFEST))
    use(host, outside)

    heading("7. All away")
    netapply("destroy", str(PUBLISHED))
    links = sorted(link["ifname"] for link in host.json("ip -j link"))
    expect(host.names() == ["outside"] and links == ["lo", outside.link], "nothing is left of it")


def use(host: Machine, outside: Outside) -> None:
    """Apply the manifest that publishes the app, look a name up, and connect as people do."""
    netapply(str(PUBLISHED))
    votes = [f"vote-{number}" for number in (1, 2, 3)]
    (vip,) = ask("result", f"{FRONT}1", "vote").values
    say(f"\nresult looks up vote: {vip}")
    with servers(host, votes, 80) as vote:
        from_outside = [vote.connect(outside.name, outside.host_ipv4, 8080) for _ in range(6)]
        by_name = [vote.connect("result", vip, 80) for _ in range(6)]
    for whence, found in (("outside, by port 8080 of the host", from_outside), ("result, by the name", by_name)):
        say(f"six connections from {whence}: {', '.join(one[0] if one else 'none' for one in found)}")
    expect({one and one[0] for one in from_outside} == set(votes), "each of the three has its turn")
    expect({one and one[0] for one in by_name} == set(votes), "by its name, too")
    expect({one and one[1] for one in from_outside} == {outside.ipv4}, f"they see who asks: {outside.ipv4}")
    expect(ask("worker", f"{BACK}1", "vote").values == (), "worker is not on that network, and knows no such name")
    netapply(str(PUBLISHED), must_say="nothing to do")


def show_pings(host: Machine, outside: Outside) -> bool:
    """Print a table of who reaches whom; returns whether all of it is as it must be."""
    pairs = {(one, other): target(host, outside, one, other) for one in EVERYWHERE for other in EVERYWHERE}
    must = {pair: must_reach(*pair) for pair in pairs}
    reached: dict[tuple[str, str], bool] = {}
    for wanted, within in ((True, 3.0), (False, 0.5)):
        some = [pair for pair in pairs if must[pair] is wanted]
        answers = host.pings([(namespace(pair[0]), pairs[pair]) for pair in some], within=within)
        reached.update(zip(some, answers, strict=True))
    say(f"{'from':>10}  to {'  '.join(f'{name:<7}' for name in EVERYWHERE)}")
    for one in EVERYWHERE:
        cells = [cell(reached[one, other], must[one, other]) for other in EVERYWHERE]
        say(f"{one:>10}     {'  '.join(cells)}")
    say(f"\n{'':>10}     {paint('yes', 32)}: reached   {paint('-', 90)}: not, and it must not   {paint('WRONG', 31)}")
    return reached == must


def must_reach(one: str, other: str) -> bool:
    """Whether one must reach the other: by a network that both are on, as the host by any, or out by front-tier."""
    front = ("vote", "result", "host", "outside")
    if one == other or (one in CONTAINERS and other in CONTAINERS):
        return True
    if one in CONTAINERS:
        return one in front  # the host and the outside, by the default route of front-tier
    if other in CONTAINERS:
        return one == "host"
    return True


def target(host: Machine, outside: Outside, one: str, other: str) -> str:
    """Return the address at which one tries the other."""
    if other in CONTAINERS:
        front = other in ("vote", "result") and one not in CONTAINERS
        return address_on(host, other, FRONT if front else BACK)
    return outside.ipv4 if other == "outside" else outside.host_ipv4


def cell(reached: bool, must: bool) -> str:
    word, colour = ("WRONG", 31) if reached != must else ("yes", 32) if reached else ("-", 90)
    return paint(f"{word:<7}", colour)


def address_on(host: Machine, container: str, prefix: str) -> str:
    found = [address for address in host.addresses(container) if address.startswith(prefix)]
    if len(found) != 1:
        raise Wrong(f"{container} has {found or 'no address'} in {prefix}0/24")
    return found[0]


def link_of(host: Machine, path: str) -> str:
    alias = f"netapply:voting-app/{path}"
    found = [link["ifname"] for link in host.json("ip -j link") if link.get("ifalias", "").partition(";")[0] == alias]
    if len(found) != 1:
        raise Wrong(f"no link has the alias {alias}")
    return str(found[0])


def namespace(name: str) -> str:
    return "" if name == "host" else name


def netapply(*arguments: str, must_say: str = "") -> None:
    """Run netapply and show what it prints. Raises Wrong if it fails, or does not say what it must."""
    prompt(f"netapply {' '.join(arguments)}")
    captured = subprocess.PIPE if must_say else None  # else it sees the terminal, and uses colours
    done = subprocess.run([*NETAPPLY, *arguments], timeout=60, stdout=captured, text=True, check=False)
    if done.stdout:
        say(done.stdout.rstrip())
    if done.returncode or must_say not in (done.stdout or must_say):
        raise Wrong(f"netapply {' '.join(arguments)} ended with {done.returncode}")


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(f"not so: {what}")
    say(f"{paint('✓', 32)} {what}")


def heading(text: str) -> None:
    say(f"\n{paint(text, 1)}\n{'─' * len(text)}")


def prompt(command: str) -> None:
    say(f"{paint('#', 90)} {command}")


def say(text: str) -> None:
    print(text, flush=True)


def paint(text: str, colour: int) -> str:
    return f"\033[{colour}m{text}\033[0m" if TERMINAL else text


if __name__ == "__main__":
    sys.exit(main())
