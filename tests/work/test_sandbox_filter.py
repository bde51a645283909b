"""What a filter of system calls says of one call, for every allowance: its programme run here, as Linux runs it."""

import errno
import platform
import socket
import struct
from collections.abc import Callable

import pytest

from archipel.work.sandbox import calls, seccomp
from archipel.work.sandbox.seccomp import Allowance, compiled

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, PASS = 0x7FFF0000, 0x80000000, 0x00050000
REFUSE, UNKNOWN = PASS | errno.EPERM, PASS | errno.ENOSYS
THREAD, SECOND_TABLE = 0x00010000, 0x40000000
GETPID = (39, 172)

Judge = Callable[..., int]
"""(number of a call, its arguments) -> what the filter answers."""


def judged(program: bytes, number: int, arguments: tuple[int, ...], architecture: int) -> int:
    """Of the instructions that filters here are made of (Linux, networking/filter.rst)."""
    rest = arguments + (0,) * (6 - len(arguments))
    seen = struct.pack("=IIQ6Q", number, architecture, 0, *rest)
    lines = list(struct.iter_unpack("=HBBI", program))
    at = word = 0
    while True:
        code, if_true, if_false, operand = lines[at]
        at += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (word,) = struct.unpack_from("=I", seen, operand)
        elif code == 0x54:
            word &= operand
        else:
            holds = {0x15: word == operand, 0x35: word >= operand, 0x45: bool(word & operand)}
            at += if_true if holds[code] else if_false


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return str(request.param)


def judge(machine: str, **allowed: bool) -> Judge:
    program = compiled(Allowance(**allowed))
    return lambda number, *arguments: judged(program, number, arguments, ARCHITECTURES[machine])


def numbers(machine: str, names: dict[str, calls.Numbers]) -> list[int]:
    found = (each[0 if machine == "x86_64" else 1] for each in names.values())
    return [each for each in found if each is not None]


def one(machine: str, pair: calls.Numbers) -> int:
    (number,) = numbers(machine, {"": pair})
    return number


def test_of_all_sockets_a_driver_may_make_one_kind_and_without_a_network_nobody_else_any(
    machine: str,
) -> None:
    make, connect = one(machine, calls.SOCKET["socket"]), one(machine, calls.CONNECT["connect"])
    flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    plain, driver = judge(machine), judge(machine, driver=True)
    families = (*range(4), socket.AF_NETLINK, socket.AF_VSOCK, 1 << 16 | socket.AF_UNIX)
    kinds = [kind | more for kind in range(16) for more in (0, flags)]
    allowed = {
        (family, kind)
        for family in families
        for kind in kinds
        if driver(make, family, kind) == ALLOW
    }
    offered = socket.SOCK_SEQPACKET
    assert allowed == {(socket.AF_UNIX, offered), (socket.AF_UNIX, offered | flags)}
    assert {plain(make, family, kind) for family in families for kind in kinds} == {REFUSE}
    assert driver(one(machine, GETPID)) == ALLOW, "all else is as it was"
    assert (driver(connect), plain(connect)) == (REFUSE, ALLOW), "without a socket there is nothing"
    for more in ({}, {"driver": True}):
        opened = judge(machine, network=True, **more)
        assert opened(make, socket.AF_INET, socket.SOCK_STREAM) == opened(connect) == ALLOW


def test_processes_are_made_and_signalled_only_where_they_may_be(machine: str) -> None:
    alone, many = judge(machine), judge(machine, new_processes=True)
    clone, clone3 = one(machine, calls.CLONE), one(machine, calls.CLONE3)
    assert (alone(clone, THREAD), alone(clone, 17), alone(clone3)) == (ALLOW, REFUSE, UNKNOWN)
    assert {many(each, 17) for each in (clone, clone3)} == {ALLOW}
    for number in numbers(machine, dict(calls.FORK)):
        assert (alone(number), many(number)) == (REFUSE, ALLOW)
    for condition in calls.of_process(0):
        signal = one(machine, condition.number)
        own = alone(signal, seccomp._OWN_PID)
        assert (own, alone(signal, 1), many(signal, 1)) == (ALLOW, REFUSE, ALLOW)


def test_another_s_schedule_is_passed_over_only_where_processes_meet_over_a_network(
    machine: str,
) -> None:
    schedule = one(machine, calls.OWN_SCHEDULE.number)
    for network in (False, True):
        for processes in (False, True):
            said = judge(machine, network=network, new_processes=processes)
            meet = network and processes
            assert (said(schedule, 0), said(schedule, 7)) == (ALLOW, PASS if meet else REFUSE)
    for condition in calls.OF_ITSELF:
        number, said = one(machine, condition.number), judge(machine, network=True)
        words = dict(condition.words)
        own = [words.get(2 * argument, 9) for argument in range(6)]
        assert said(number, *own) == ALLOW
        for half in words:
            other = list(own)
            other[half // 2] += 1 << 32 if half % 2 else 1
            assert said(number, *other) == REFUSE


def test_what_only_reads_opens_nothing_to_write(machine: str) -> None:
    reads, writes = judge(machine, writing=False), judge(machine)
    for _, pair, argument in calls.OPENINGS:
        for number in numbers(machine, {"": pair}):
            for flags in (1, 2, 0o100, 0o1000):
                told = (0,) * argument + (flags,)
                assert (reads(number, *told), writes(number, *told)) == (REFUSE, ALLOW)
            assert reads(number, *(0,) * argument, 0o2000000) == ALLOW
    assert (reads(one(machine, calls.OPENAT2)), writes(one(machine, calls.OPENAT2))) == (
        UNKNOWN,
        ALLOW,
    )
    assert {reads(number) for number in numbers(machine, dict(calls.WRITES))} == {REFUSE}


def test_what_is_never_needed_is_refused_and_other_tables_of_calls_are_closed(machine: str) -> None:
    for number in numbers(machine, dict(calls.ALWAYS)):
        for more in ({}, {"network": True, "new_processes": True}, {"driver": True}):
            assert judge(machine, **more)(number) == REFUSE
    program, own = compiled(Allowance()), one(machine, GETPID)
    said = {name: judged(program, own, (), each) for name, each in ARCHITECTURES.items()}
    assert said == {name: ALLOW if name == machine else KILL for name in ARCHITECTURES}
    if machine == "x86_64":  # which has a second table, under the same name
        assert judged(program, SECOND_TABLE | own, (), ARCHITECTURES[machine]) == REFUSE
