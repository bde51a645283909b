"""Confine the calling process, step by step, and report honestly what holds.

Law: a step that this machine does not offer is reported, never silently skipped and never fatal;
only a call that could not work (too late, threads already running) raises.

Does not hide what the process was started with: start it with a scrubbed environment and without
inherited descriptors.
"""

import errno
import os
import resource
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from archipel.work.sandbox import kernel, landlock, seccomp
from archipel.work.sandbox.offline import leave_network
from archipel.work.sandbox.runtime import PROCESS, THREADS, device_paths, readable_paths
from archipel.work.sandbox.shared_memory import own_shared_memory as take_shared_memory


class SandboxError(RuntimeError):
    """`restrict` was called where it cannot bind the whole process."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what the process may use; None leaves a bound as it was."""

    address_space_bytes: int | None = None
    """Virtual memory. Leave None on accelerators: their drivers reserve far more than they use."""
    cpu_s: int | None = None
    """Processor time over the process's life; it is killed a second after."""
    open_files: int | None = 1024
    file_bytes: int | None = None
    """Largest file it may write."""
    threads: int | None = None
    """Threads and processes, together with those of its user in a user namespace of its own; the kernel
    binds no root to it."""
    may_start_processes: bool = False
    """Memory and time are bounded per process, so that many processes are many times the bound."""
    dies_with_parent: bool = True
    """The signal follows the *thread* that started this process: False where that one may end before
    its process does, and this one sees the end of its input anyway."""


@dataclass(frozen=True)
class Report:
    """Which protections hold. What does not is explained in `reasons`."""

    no_new_privileges: bool = False
    no_capabilities: bool = False
    file_reads: bool = False
    """Only the allowed paths can be read."""
    file_writes: bool = False
    """Only the allowed paths can be written, truncated, created or removed."""
    network: bool = False
    """No way to a network: no socket can be made, or there is nothing behind it."""
    processes: bool = False
    """Other processes can be neither signalled nor looked into."""
    system_calls: bool = False
    """Calls that work never needs are refused."""
    no_new_processes: bool = False
    memory: bool = False
    cpu_time: bool = False
    open_files: bool = False
    file_size: bool = False
    threads: bool = False
    no_core_dump: bool = False
    dies_with_parent: bool = False
    landlock_version: int = 0
    reasons: tuple[str, ...] = ()

    def holding(self) -> tuple[str, ...]:
        """Names of the protections that hold."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is True)


def restrict(
    limits: Limits,
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    network: bool = False,
    own_shared_memory: bool = False,
    driver: bool = False,
) -> Report:
    """Confine this process and all it will start, for good.

    Call it at the start of a child process, before threads exist and before anything from outside
    is opened. What Python and the tensor library need stays readable besides `readable`.

    Args:
        limits: bounds on memory, time, files.
        readable: files and folders that may be read.
        writable: files and folders that may be read and changed.
        network: True leaves the network open.
        own_shared_memory: where this system allows it, what is in `/dev/shm` is this process's own.
        driver: an accelerator's library starts here: it names its threads, and listens at a Unix socket.

    Raises:
        SandboxError: other threads are running; most restrictions would not bind them.
    """
    if not sys.platform.startswith("linux"):
        return Report(reasons=(f"nothing is confined on {sys.platform}; it takes Linux",))
    if _num_threads() > 1:
        raise SandboxError("other threads are running: call restrict before anything starts them")
    confinement = _Confinement(limits, tuple(readable), tuple(writable), network, driver)
    if own_shared_memory:
        confinement.take_shared_memory()
    return confinement.run()


class _Confinement:
    """The steps, in the only order that works; each adds what it achieved."""

    def __init__(
        self, limits: Limits, readable: tuple[Path, ...], writable: tuple[Path, ...], is_network_allowed: bool,
        has_driver: bool = False,
    ) -> None:  # fmt: skip
        self._limits = limits
        self._readable = readable
        self._writable = writable
        self._is_network_allowed = is_network_allowed
        self._has_driver = has_driver
        self._held: dict[str, bool] = {}
        self._reasons: list[str] = []
        self._landlock_version = 0
        self._has_own_user = False

    def take_shared_memory(self) -> None:
        """Before anything else; without it `/dev/shm` is the machine's, as far as a rule names it."""
        given = (path for path, _ in self._rules())
        self._step("shared memory of its own", partial(take_shared_memory, given))

    def run(self) -> Report:
        """Each step prepares the next: namespaces take privileges, filters take no_new_privs."""
        has_own_network = self._step("network namespace", self._leave_network)
        self._held["no_capabilities"] = self._step("capabilities", kernel.drop_capabilities)
        self._held["no_new_privileges"] = self._step("no_new_privs", _refuse_new_privileges)
        if self._limits.dies_with_parent:
            self._held["dies_with_parent"] = self._step("parent death signal", die_with_parent)
        self._limit_resources()
        self._step("Landlock", self._fence)
        self._held["system_calls"] = self._step("seccomp", self._refuse_calls)
        if not self._limits.may_start_processes:
            self._held["no_new_processes"] = self._held["system_calls"]
        self._judge_network(has_own_network)
        return Report(
            **self._held, landlock_version=self._landlock_version, reasons=tuple(self._reasons)
        )

    def _step(self, name: str, action: Callable[[], bool | None]) -> bool:
        """Whether `action` took effect; if it did not, why not."""
        try:
            return action() is not False
        except OSError as error:
            self._reasons.append(f"{name}: {error.strerror or error}")
            return False

    def _leave_network(self) -> bool:
        if self._is_network_allowed:
            return False
        user = leave_network()
        if user is not None:
            self._step(
                "own user name", partial(kernel.map_own_user, *user)
            )  # without it we are nobody, and as confined
            self._has_own_user = True
        return True

    def _limit_resources(self) -> None:
        limits = self._limits
        wanted = [
            ("memory", resource.RLIMIT_AS, limits.address_space_bytes, 0),
            ("cpu_time", resource.RLIMIT_CPU, limits.cpu_s, 1),
            ("open_files", resource.RLIMIT_NOFILE, limits.open_files, 0),
            ("file_size", resource.RLIMIT_FSIZE, limits.file_bytes, 0),
            ("no_core_dump", resource.RLIMIT_CORE, 0, 0),
        ]
        for name, kind, bound, grace in wanted:
            if bound is not None:
                self._held[name] = self._step(name, _Bound(kind, bound, grace).apply)
        if limits.threads is not None:
            self._held["threads"] = self._step("threads", self._limit_threads)

    def _limit_threads(self) -> None:
        if not self._has_own_user:
            # Root is bound by no such limit; elsewhere it would count all that its user runs.
            raise OSError(errno.EPERM, "not bounded without a user namespace of its own")
        _Bound(resource.RLIMIT_NPROC, self._limits.threads or 1, 0).apply()

    def _fence(self) -> None:
        for path in filter(Path.exists, (PROCESS, THREADS)):
            os.open(path, os.O_PATH | os.O_CLOEXEC)  # for good: Linux forgets, and rules do not
        self._landlock_version = landlock.fence(
            self._rules(), is_network_allowed=self._is_network_allowed
        )
        self._held["file_reads"] = True
        self._held["file_writes"] = self._landlock_version >= landlock.VERSION_WITH_TRUNCATE
        self._held["processes"] = self._landlock_version >= landlock.VERSION_WITH_SIGNALS

    def _rules(self) -> Iterator[tuple[Path, int]]:
        for path in (*readable_paths(), *self._readable):
            yield path, landlock.READ
        for path in self._writable:
            yield path, landlock.WRITE
        for path in device_paths():
            yield path, landlock.DEVICE
        if self._has_driver:
            yield THREADS, landlock.CHANGE

    def _refuse_calls(self) -> None:
        allowance = seccomp.Allowance(
            network=self._is_network_allowed,
            new_processes=self._limits.may_start_processes,
            driver=self._has_driver,
        )
        seccomp.refuse(allowance)

    def _judge_network(self, has_own_network: bool) -> None:
        if self._is_network_allowed:
            self._reasons.append("network: left open as asked")
            return
        inherited = _inherited_sockets()
        if inherited:
            self._reasons.append(f"network: inherited sockets on descriptors {inherited}")
        elif not (has_own_network or self._held["system_calls"]):
            self._reasons.append("network: neither a namespace of its own nor a socket filter")
        self._held["network"] = not inherited and (has_own_network or self._held["system_calls"])


@dataclass(frozen=True)
class _Bound:
    """One resource limit."""

    kind: int
    bound: int
    grace: int
    """What the hard limit adds to the soft one, so that a warning comes first."""

    def apply(self) -> None:
        _, hard = resource.getrlimit(self.kind)
        ceiling = self.bound + self.grace
        if hard != resource.RLIM_INFINITY:
            ceiling = min(ceiling, hard)
        try:
            resource.setrlimit(self.kind, (min(self.bound, ceiling), ceiling))
        except ValueError as error:  # how Python says that the kernel refused
            raise OSError(str(error)) from None


def die_with_parent() -> bool:
    """Be killed when the thread that started this process ends, for whatever reason."""
    parent = os.getppid()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died while we were asking
        os.kill(os.getpid(), signal.SIGKILL)
    return kernel.parent_death_signal() == signal.SIGKILL


def _num_threads() -> int:
    try:
        return max(threading.active_count(), len(os.listdir("/proc/self/task")))  # noqa: PTH208
    except OSError:  # started from a confined process, which leaves its children no /proc
        return threading.active_count()


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    except OSError:
        return list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


def _refuse_new_privileges() -> bool:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) == 1


def _inherited_sockets() -> list[int]:
    """Open descriptors that may lead to a network: any socket but a Unix one."""
    found = []
    for descriptor in _descriptors():
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as inherited:
                    if inherited.family != socket.AF_UNIX:
                        found.append(descriptor)
        except OSError:  # not open, or the listing's own
            continue
    return found
