"""What each version of Landlock is asked to fence, what a rule lets happen, and what a report may claim of networks and bounds."""

import json
import os
import resource
import struct
import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from archipel.work.sandbox import Limits, confinement, kernel, landlock
from archipel.work.sandbox.shared_memory import own_shared_memory
from work.confined import needs

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="confinement takes Linux"
)
BIND, CONNECT, ABSTRACT, SIGNALS = 1, 2, 1, 2


def forked(action: Callable[[], Any]) -> Any:
    """What it returns, or the number of its OSError, in a copy of this process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, of threads beside
        pid = os.fork()
    if pid == 0:
        try:
            found = action()
        except OSError as error:
            found = error.errno
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        told = said.read()
    os.waitpid(pid, 0)
    return json.loads(told)


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"


def asked(monkeypatch: pytest.MonkeyPatch, version: int, is_open: bool) -> tuple[int, int, int]:
    """(files, TCP, others) that a ruleset fences."""
    told: list[bytes] = []

    def syscall(name: str, number: int, *arguments: Any) -> int:
        told.append(bytes((landlock.ctypes.c_char * arguments[1]).from_address(arguments[0].value)))
        return os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr(kernel, "syscall", syscall)
    os.close(landlock.prepared([], is_network_allowed=is_open))
    files, tcp, others = struct.unpack("=QQQ", told[0])
    return files, tcp, others


def test_a_kernel_is_asked_for_what_it_knows_and_for_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in range(1, 8):
        files, tcp, others = asked(monkeypatch, version, False)
        known = 13 + (version >= 2) + (version >= 3) + (version >= 5)
        bits = {bit for bit in range(64) if files >> bit & 1}
        later = {13: version >= 2, 14: version >= 3, 15: version >= 5}
        assert bits == {*range(13), *(bit for bit, is_known in later.items() if is_known)}
        assert len(bits) == known
        assert tcp == (BIND | CONNECT if version >= 4 else 0)
        assert others == (ABSTRACT | SIGNALS if version >= 6 else 0)
        assert asked(monkeypatch, version, True) == (files, 0, others)


def test_a_ruleset_that_cannot_be_made_whole_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def syscall(*_: Any) -> int:
        made.append(os.open(os.devnull, os.O_RDONLY))
        return made[-1]

    monkeypatch.setattr(landlock, "version", lambda: 3)
    monkeypatch.setattr(kernel, "syscall", syscall)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        landlock.prepared([(tmp_path / "loop", landlock.READ)], is_network_allowed=False)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(made[0])


@needs("file_reads", "file_writes")
@pytest.mark.parametrize(
    ("rights", "open_to"),
    [(landlock.READ, "r"), (landlock.CHANGE, "rw"), (landlock.WRITE, "rwm"), (landlock.DEVICE, "")],
)
def test_what_a_rule_on_a_folder_lets_happen_in_it(
    tmp_path: Path, rights: int, open_to: str
) -> None:
    (tmp_path / "there").write_text("it is")

    def fenced() -> dict[str, str]:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.fence([(tmp_path, rights)], is_network_allowed=True)
        return {
            "list": outcome(lambda: os.listdir(tmp_path)),  # noqa: PTH208
            "change": outcome(lambda: (tmp_path / "there").write_text("more")),
            "cut": outcome(lambda: os.truncate(tmp_path / "there", 1)),
            "make": outcome(lambda: (tmp_path / "new").mkdir()),
            "remove": outcome(lambda: (tmp_path / "there").unlink()),
            "elsewhere": outcome(lambda: os.listdir(tmp_path.parent)),  # noqa: PTH208
        }

    needed = {"list": "r", "change": "w", "cut": "w", "make": "m", "remove": "m", "elsewhere": "-"}
    told = forked(fenced)
    assert told == {
        name: "done" if need in open_to else "PermissionError" for name, need in needed.items()
    }


def test_no_network_is_claimed_only_where_one_of_two_holds_and_nothing_was_inherited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for own, calls, inherited, is_open in product((False, True), repeat=4):
        made = confinement._Confinement(Limits(), (), (), is_open)
        made._held["system_calls"] = calls
        monkeypatch.setattr(
            confinement, "_inherited_sockets", lambda found=inherited: [3] if found else []
        )
        made._judge_network(own)
        holds = not is_open and not inherited and (own or calls)
        assert made._held.get("network", False) is holds
        assert bool(made._reasons) is not holds


def test_a_bound_lowers_the_hard_limit_too_and_raises_none() -> None:
    def bounds() -> list[tuple[int, int]]:
        found = []
        for bound, grace in ((60, 10), (50, 0), (90, 5)):
            confinement._Bound(resource.RLIMIT_NOFILE, bound, grace).apply()
            found.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        return found

    assert forked(bounds) == [[60, 70], [50, 50], [50, 50]]


def test_a_path_that_would_be_hidden_is_found_through_links_and_the_place_itself_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("unshare", "mount"):
        monkeypatch.setattr(kernel, name, lambda *_, name=name: steps.append(name))
    (tmp_path / "link").symlink_to("/dev/shm/archipel-nowhere")
    with pytest.raises(OSError, match="would be hidden"):
        own_shared_memory([tmp_path / "link"])
    assert steps == []
    own_shared_memory([Path("/dev/shm"), Path("/usr")])
    assert steps == ["unshare", "mount", "mount"]
