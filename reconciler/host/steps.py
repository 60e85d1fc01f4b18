"""Tasks of several steps, run side by side: what many of them have to send to one namespace goes in one send.

A task is a generator. It yields the steps that it can make next, and is sent the kernel's answers to them; it ends when
it returns, or with the first answer that is a failure. Tasks that run side by side must not depend on each other.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, TypeAlias

from ..errors import NetapplyError, NotPermitted, OperationFailed
from ..resources import HOST
from . import namespaces
from .doors import Doors
from .namespaces import Place, Trap
from .netlink import Answer, Message, Socket


class Send(NamedTuple):
    """A message to the kernel side of a sandbox. `what` names the object for whoever reads of a failure.

    Failures with a number in `tolerated` are answers like others.
    """

    sandbox: str
    message: Message
    what: str
    tolerated: tuple[int, ...] = ()


class Act(NamedTuple):
    """Anything else that is done inside a sandbox. It calls the trap itself, and raises what is an error."""

    sandbox: str
    run: Callable[[Trap], None]


Step: TypeAlias = Send | Act
Task: TypeAlias = Generator[Sequence[Step], Sequence[Answer], None]


def failure(what: str, answer: Answer) -> NetapplyError:
    """Return the error that an answer means."""
    if answer.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"{what}: {answer.reason}; {namespaces.RIGHTS}")
    return OperationFailed(f"{what}: {answer.reason}", answer.errno)


class Runner:
    """Runs tasks. `home` is a descriptor of the host's namespace, `door` a socket in it, `places` are the sandboxes,
    `doors` lead there.

    With a trap, messages go one by one, so that what it does happens between two of them. `keys` are private keys of
    WireGuard links by their public ones, for rolling back; they are in no other value.
    """

    def __init__(self, home: int, door: Socket, places: Mapping[str, Place], doors: Doors, trap: Trap | None) -> None:
        self._home, self._door, self._places, self._doors, self._trap = home, door, places, doors, trap
        self.keys: dict[str, bytes] = {}

    def run(self, tasks: Sequence[Task]) -> list[NetapplyError | None]:
        """Run the tasks to their ends and return what became of each."""
        outcomes: list[NetapplyError | None] = [None] * len(tasks)
        waiting: dict[int, Sequence[Answer] | NetapplyError | None] = dict.fromkeys(range(len(tasks)))
        while waiting:
            steps: dict[int, Sequence[Step]] = {}
            for number, answers in waiting.items():
                try:
                    steps[number] = _advance(tasks[number], answers)
                except StopIteration:
                    pass
                except NetapplyError as error:
                    outcomes[number] = error
            waiting = dict(self._round(steps))
        return outcomes

    def _round(self, steps: Mapping[int, Sequence[Step]]) -> dict[int, Sequence[Answer] | NetapplyError]:
        """Make the steps of many tasks, namespace by namespace, and return the answers of each."""
        by_sandbox: dict[str, list[tuple[int, int, Step]]] = {}
        for number, wanted in steps.items():
            for place, step in enumerate(wanted):
                by_sandbox.setdefault(step.sandbox, []).append((number, place, step))
        answers = {number: [Answer()] * len(wanted) for number, wanted in steps.items()}
        failures: dict[int, NetapplyError] = {}
        for sandbox, made in by_sandbox.items():
            acts = any(isinstance(step, Act) for _, _, step in made)
            try:
                with self.inside(sandbox) if acts else self.door(sandbox) as door:
                    results = self._make([step for _, _, step in made], door)
            except NetapplyError as error:  # it can't be entered
                results = [error] * len(made)
            for (number, place, step), result in zip(made, results, strict=True):
                if isinstance(step, Send) and isinstance(result, Answer) and result.errno not in (0, *step.tolerated):
                    result = failure(step.what, result)  # noqa: PLW2901
                if isinstance(result, Answer):
                    answers[number][place] = result
                else:
                    failures.setdefault(number, result)
        return {number: failures.get(number, answers[number]) for number in steps}

    def place(self, sandbox: str) -> Place:
        """Return where a sandbox is. Raises OperationFailed."""
        place = self._places.get(sandbox)
        if place is None:
            raise OperationFailed(f"container {sandbox} has no network namespace", errno.ENOENT)
        return place

    def door(self, sandbox: str) -> AbstractContextManager[Socket]:
        """Have a socket to the kernel side of a sandbox. Raises OperationFailed, NotPermitted."""
        return nullcontext(self._door) if sandbox == HOST else self._doors.into(sandbox, self.place(sandbox))

    @contextmanager
    def inside(self, sandbox: str) -> Iterator[Socket]:
        """Be in a sandbox, with a socket to its kernel side: for what is not done by the socket alone.

        Raises OperationFailed, NotPermitted.
        """
        if sandbox == HOST:
            yield self._door
            return
        with namespaces.entered(self.place(sandbox), self._home) as door:
            yield door

    def _make(self, steps: Sequence[Step], door: Socket) -> list[Answer | NetapplyError]:
        results: list[Answer | NetapplyError] = []
        unsent: list[Send] = []
        for step in steps:
            if isinstance(step, Send):
                unsent.append(step)
                continue
            results += self.send(unsent, door)
            unsent = []
            try:
                step.run(self.trap)
                results.append(Answer())
            except NetapplyError as error:
                results.append(error)
        return results + list(self.send(unsent, door))

    def trap(self, what: str) -> None:
        """Tell the trap what comes next; it may raise OSError, or never return."""
        if self._trap:
            self._trap(what)

    def send(self, steps: Sequence[Send], door: Socket) -> list[Answer]:
        """Send messages through a socket: all at once, or one by one if there is a trap."""
        if not self._trap:
            return door.send([step.message for step in steps])
        answers: list[Answer] = []
        for step in steps:
            try:
                self._trap(f"{_VERBS.get(step.message.type, 'ask')} {step.what}")
                answers += door.send([step.message])
            except OSError as refused:
                answers.append(Answer(refused.errno or 0))
        return answers


_VERBS = {
    16: "set",
    17: "delete",
    20: "set",
    21: "delete",
    24: "set",
    25: "delete",
    28: "set",
    29: "delete",
    36: "set",
    37: "delete",
    44: "set",
    45: "delete",
}


def _advance(task: Task, answers: Sequence[Answer] | NetapplyError | None) -> Sequence[Step]:
    """Give a task the answers to its last steps, or the failure of one, and return the next steps."""
    if answers is None:
        return next(task)
    if isinstance(answers, NetapplyError):
        return task.throw(answers)
    return task.send(answers)
