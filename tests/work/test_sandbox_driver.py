"""A child on an accelerator: what the accelerator's library does at its start, and nothing that reaches anybody."""

import os
import socket
import sys
from pathlib import Path

import pytest

from work.confined import in_child, needs, plain

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="confinement takes Linux"
)
CHILD = """
from archipel.work.child import confine
from archipel.work.messages import Setup
folder, device, door = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
setup = Setup(
    kinds=("rollout",), scratch=folder, readable=(), memory=None, threads=1, engine="archipel",
    dtype="float32", device=device, max_memory_bytes=None, trusted=False,
)
held = confine(setup)
def named():
    sleeper = threading.Thread(target=time.sleep, args=(5,), daemon=True)
    sleeper.start()
    Path(f"/proc/self/task/{sleeper.native_id}/comm").write_bytes(b"driver")
def offered(address="\\0archipel-driver"):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as offer:
        offer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        offer.bind(address)
        offer.listen(16)
def reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ours:
        ours.connect(door)
say(
    held=sorted(held),
    names=attempt(named),
    offers=attempt(offered),
    elsewhere=attempt(lambda: offered(str(folder.parent / "made"))),
    reaches=attempt(reached),
    streams=attempt(lambda: socket.socket(socket.AF_UNIX)),
    sends=attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)),
    inet=attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)),
    others=attempt(lambda: Path(f"/proc/{os.getppid()}/comm").write_bytes(b"mine")),
    made=attempt(lambda: Path("/proc/self/sched").write_bytes(b"0")),
)
"""


@needs("file_reads", "file_writes", "system_calls")
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_device_s_library_names_its_threads_and_can_be_found_and_reaches_nobody(
    tmp_path: Path, device: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(str(tmp_path / "door"))
        door.listen()
        told = in_child(plain(CHILD), scratch, device, tmp_path / "door")
    assert {"file_reads", "file_writes", "network", "system_calls"} <= set(told.pop("held"))
    starts = (told.pop("names"), told.pop("offers"))
    assert starts == (("PermissionError",) * 2 if device == "cpu" else ("done", "done"))
    assert set(told.values()) == {"PermissionError"}, told


@pytest.mark.slow  # all that runs here is slower for a moment
@needs("file_reads", "file_writes")
@pytest.mark.parametrize(("device", "names"), [("cpu", "PermissionError"), ("cuda", "done")])
def test_what_a_process_may_see_and_say_of_itself_stays_when_linux_forgets_what_it_may_forget(
    tmp_path: Path, device: str, names: str
) -> None:
    """Rules hold on to inodes; under memory pressure Linux makes others of the same name."""
    forget = Path("/proc/sys/vm/drop_caches")
    if not os.access(forget, os.W_OK):
        pytest.skip("takes root, to make the system forget")
    program = plain(CHILD).partition("say(")[0] + plain(
        """
        print(flush=True)
        sys.stdin.read(1)
        say(names=attempt(named), status=attempt(lambda: Path("/proc/self/status").read_text()))
        """
    )
    told = in_child(program, tmp_path, device, "", between=lambda: forget.write_text("2\n"))
    assert told == {"names": names, "status": "done"}
