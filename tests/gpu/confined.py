"""`python confined.py DEVICE FOLDER role ROLE | call NAME | fence [GRANT]`: a device's library, started within what confines work.

`role`: all that a process of that role lives by, and torch computes on the device. `call`: one refused call alone. `fence`: the
fence around files alone, as a node's process has it, and one grant more. Ends with 0 where the device is there.
"""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

from archipel.work.child import confine
from archipel.work.messages import Setup
from archipel.work.sandbox import Limits, calls, landlock, seccomp
from archipel.work.sandbox.confinement import _Confinement, _refuse_new_privileges

ROLES = ("node", "trusted", "rank")
EVERYTHING = landlock.WRITE | landlock.DEVICE
GRANTS = {
    "names of its own threads": ("/proc/self/task", EVERYTHING),
    "all of its own in proc": ("/proc/self", EVERYTHING),
    "reading proc": ("/proc", landlock.READ),
    "reading loaded modules": ("/proc/modules", landlock.READ),
    "reading what the driver says of shared memory": ("/proc/driver/nvidia-uvm", landlock.READ),
    "reading sys": ("/sys", landlock.READ),
    "reading folders of devices": ("/dev", landlock.READ),
    "every device": ("/dev", landlock.DEVICE),
    "shared memory": ("/dev/shm", EVERYTHING),
    "the folder for temporary files": ("/tmp", EVERYTHING),
    "reading what runs": ("/run", landlock.READ),
    "reading everything": ("/", landlock.READ),
    "everything": ("/", EVERYTHING),
}
"""What might be missing: name -> (path, rights)."""


def conditions() -> dict[str, calls.OnlyIf]:
    told = (*calls.OF_ITSELF, *calls.of_process(seccomp._OWN_PID))
    return {f"of others, number {each.number[0]} of x86-64": each for each in told}


def refused() -> dict[str, calls.Numbers]:
    return {**calls.ALWAYS, **calls.SOCKET, **calls.CONNECT, **calls.FORK}


NEW_PROCESSES = "new processes"
CALLS = (*refused(), *conditions(), NEW_PROCESSES)


def refuse_alone(name: str) -> None:
    """For this process, and of all calls this one."""
    every, own = refused(), conditions()
    is_socket = name in calls.SOCKET  # of which one kind is left to whoever has a driver
    calls.ALWAYS = {name: every[name]} if name in every and not is_socket else {}
    calls.OF_ITSELF = (own[name],) if name in own else ()
    calls.FORK, calls.of_process = {}, lambda pid: ()
    _refuse_new_privileges()
    seccomp.refuse(
        seccomp.Allowance(network=not is_socket, new_processes=name != NEW_PROCESSES, driver=True)
    )


def fence(folder: Path, grant: str | None) -> None:
    def rules() -> Iterator[tuple[Path, int]]:
        yield from _Confinement(Limits(), (), (folder,), False, True)._rules()
        if grant is not None:
            path, rights = GRANTS[grant]
            yield Path(path), rights

    _refuse_new_privileges()
    landlock.fence(rules(), is_network_allowed=False)


def live_as(role: str, folder: Path, device: str) -> None:
    setup = Setup(
        kinds=(), scratch=folder, readable=(), memory=None, threads=1, engine="archipel", dtype="float32", device=device,
        max_memory_bytes=None, trusted=role != "node",
    )  # fmt: skip
    print(sorted(confine(setup, meets_others=role == "rank")))


def start(device: str) -> None:
    """What the library does before anything can be computed. Raises SystemExit: it finds no device."""
    if device == "cpu":
        return
    library = ctypes.CDLL("libcuda.so.1")
    count = ctypes.c_int()
    fault = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if fault or not count.value:
        raise SystemExit(f"CUDA's error {fault}, {count.value} devices")


def compute(device: str) -> None:
    import torch

    from archipel.model.devices import ready_device

    x = torch.ones(64, 64, device=ready_device(device))
    assert float((x @ x).sum()) == 64**3


if __name__ == "__main__":
    device, folder, what, *rest = sys.argv[1:]
    if what == "role":
        live_as(rest[0], Path(folder), device)
        compute(device)
    elif what == "call":
        refuse_alone(rest[0])
        start(device)
    else:
        fence(Path(folder), rest[0] if rest else None)
        start(device)
