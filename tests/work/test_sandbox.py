"""Properties of a confined child, each shown in a real process."""

import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from archipel.work.sandbox import Limits, Report, SandboxError, confinement, restrict
from work.confined import HOLDING, PROLOGUE, in_child, needs, plain

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="confinement takes Linux"
)


def test_what_every_linux_offers_always_holds() -> None:
    """So that the tests below cannot all be skipped by a fault of ours."""
    everywhere = {"no_new_privileges", "no_capabilities", "dies_with_parent", "memory", "cpu_time"}
    everywhere |= {"open_files", "file_size", "no_core_dump"}
    if platform.machine() in ("x86_64", "aarch64"):
        everywhere |= {"network", "system_calls", "no_new_processes"}
    assert everywhere <= set(HOLDING)


@needs("network")
def test_a_confined_child_reaches_no_listening_socket(tmp_path: Path) -> None:
    program = """
    unix = sys.argv[2]
    before = attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close())
    pair = socket.socketpair()
    report = restrict(Limits())
    say(
        network=report.network,
        before=before,
        tcp=attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)),
        udp=attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        ipv6=attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM)),
        unix=attempt(lambda: socket.socket(socket.AF_UNIX).connect(unix)),
        vsock=attempt(lambda: socket.socket(socket.AF_VSOCK)),
        netlink=attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    )
    """
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "door"))
        unix.listen()
        facts = in_child(plain(program), tcp.getsockname()[1], tmp_path / "door")
    assert facts.pop("before") == "done"
    assert facts.pop("network") is True
    assert set(facts.values()) == {"PermissionError"}, facts


def test_a_network_that_is_asked_for_stays_open() -> None:
    program = """
    report = restrict(Limits(), network=True)
    say(
        network=report.network,
        tcp=attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)),
    )
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = in_child(plain(program), server.getsockname()[1])
    assert facts == {"network": False, "tcp": "done"}


def test_an_inherited_socket_is_reported() -> None:
    program = """
    kept = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
    report = restrict(Limits())
    say(network=report.network, reasons=report.reasons)
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        facts = in_child(plain(program), server.getsockname()[1])
    assert facts["network"] is False
    assert "inherited sockets" in facts["reasons"][-1]


@needs("file_reads", "file_writes")
def test_a_confined_child_reads_and_writes_only_what_it_was_given(tmp_path: Path) -> None:
    for name in ("given", "scratch", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    secret = tmp_path / "secret.key"
    secret.write_text("secret")
    secret.chmod(0o600)
    (tmp_path / "scratch" / "link").symlink_to(secret)
    program = """
    root = Path(sys.argv[1])
    already_open = (root / "other" / "file").open()
    restrict(Limits(), readable=[root / "given"], writable=[root / "scratch"])
    denied = {
        "read": lambda: (root / "secret.key").read_text(),
        "read link": lambda: (root / "scratch" / "link").read_text(),
        "list": lambda: list(root.iterdir()),
        "write": lambda: (root / "other" / "file").write_text("x"),
        "append": lambda: open(root / "other" / "file", "a"),
        "create": lambda: (root / "other" / "new").touch(),
        "truncate": lambda: os.truncate(root / "other" / "file", 0),
        "remove": lambda: (root / "other" / "file").unlink(),
        "rename": lambda: (root / "other" / "file").rename(root / "scratch" / "taken"),
        "hard link": lambda: os.link(root / "secret.key", root / "scratch" / "taken"),
        "folder": lambda: (root / "other" / "new").mkdir(),
        "write given": lambda: (root / "given" / "file").write_text("x"),
        "chmod": lambda: (root / "secret.key").chmod(0o644),
        "chown": lambda: os.chown(root / "secret.key", 1, 1),
        "temporary": lambda: open("/tmp/archipel-must-not-exist", "x"),
        "home": lambda: list(Path("/root").iterdir()),
        "shadow": lambda: Path("/etc/shadow").read_text(),
        "parent memory": lambda: open(f"/proc/{os.getppid()}/mem", "rb"),
        "parent environment": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(),
        "disk": lambda: os.mknod(root / "scratch" / "disk", 0o60600, os.makedev(8, 0)),
    }
    allowed = {
        "given": lambda: (root / "given" / "file").read_text(),
        "list given": lambda: list((root / "given").iterdir()),
        "scratch": lambda: (root / "scratch" / "new").write_text("x" * 1000),
        "scratch folder": lambda: (root / "scratch" / "folder").mkdir(),
        "scratch move": lambda: (root / "scratch" / "new").rename(root / "scratch/folder/new"),
        "scratch remove": lambda: (root / "scratch" / "folder" / "new").unlink(),
        "null": lambda: Path("/dev/null").write_text("x"),
        "chance": lambda: Path("/dev/urandom").open("rb").read(8),
        "self": lambda: Path("/proc/self/status").read_text(),
    }
    say(
        denied={name: attempt(action) for name, action in denied.items()},
        allowed={name: attempt(action) for name, action in allowed.items()},
    )
    """
    facts = in_child(plain(program), tmp_path)
    assert {
        n: r for n, r in facts["denied"].items() if r not in ("PermissionError", "OSError")
    } == {}
    assert {n: r for n, r in facts["allowed"].items() if r != "done"} == {}
    assert (tmp_path / "other" / "file").read_text() == "other"
    assert (tmp_path / "given" / "file").read_text() == "given"
    assert secret.read_text() == "secret"
    assert secret.stat().st_mode & 0o777 == 0o600


@needs("processes", "no_new_processes")
def test_a_confined_child_touches_no_other_process_and_starts_none() -> None:
    program = """
    restrict(Limits())
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    say(
        threads=len(done),
        signal=attempt(lambda: os.kill(int(sys.argv[1]), 0)),
        fork=attempt(os.fork),
        spawn=attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
        system=os.system("true"),
    )
    """
    facts = in_child(plain(program), os.getpid())
    assert facts.pop("threads") == 1
    assert facts.pop("system") != 0
    assert set(facts.values()) == {"PermissionError"}


SHARED = """
    shared = Path("/dev/shm")
    limits = Limits(may_start_processes=True, dies_with_parent=False)
    before = sys.argv[1]
    report = restrict(limits, [Path("/proc")], [shared, *map(Path, sys.argv[2:])], True, True)
    found = os.listdir(shared)
    (shared / "archipel-must-not-stay").write_text("mine")
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, (shared / "archipel-must-not-stay").read_bytes())
        os._exit(0)
    say(
        reasons=[each for each in report.reasons if "shared" in each],
        found=found,
        handed=os.read(reader, 9).decode(),
        before=attempt(lambda: Path(before).read_text()),
        environment=attempt(lambda: open(f"/proc/{os.getppid()}/environ", "rb").read()),
        memory=attempt(lambda: open(f"/proc/{os.getppid()}/mem", "rb")),
        opened=attempt(lambda: open(f"/proc/{os.getppid()}/fd/0", "rb")),
    )
    """


def _may_mount() -> bool:
    """Whether this system lets a process like this one have mounts of its own."""
    program = plain(SHARED).partition("limits =")[0]
    program += "from archipel.work.sandbox.shared_memory import own_shared_memory\n"
    told = in_child(program + "say(mine=attempt(lambda: own_shared_memory([])))")
    return told["mine"] == "done"


@needs("file_reads", "processes")
def test_shared_memory_of_its_own_holds_nothing_of_others_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    """What a model that is split over devices needs: memory that processes share, and their own place in /proc."""
    if not _may_mount():
        pytest.skip("no mounts of its own for a process here")
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm", prefix="archipel-") as file:
        facts = in_child(plain(SHARED), file.name)
        assert facts.pop("before") == "FileNotFoundError"
    assert (facts.pop("reasons"), facts.pop("found"), facts.pop("handed")) == ([], [], "mine")
    assert set(facts.values()) == {"PermissionError"}, facts
    assert not Path("/dev/shm/archipel-must-not-stay").exists()


@needs("file_reads", "file_writes")
@pytest.mark.parametrize("devices", [1, 2])
def test_shared_memory_and_other_processes_are_open_only_to_what_splits_its_model(
    tmp_path: Path, devices: int
) -> None:
    program = """
    from archipel.work.child import confine
    from archipel.work.messages import Setup
    folder = Path(sys.argv[1])
    setup = Setup(
        kinds=("rollout",), scratch=folder, readable=(), memory=None, threads=1, engine="vllm",
        dtype="float32", device="cpu", max_memory_bytes=None, trusted=False,
        spread={"devices": int(sys.argv[2])},
    )
    ray = setup.model_copy(update={"spread": setup.spread.model_copy(update={"by": "ray"})})
    if not setup.spread.is_one and not os.fork():
        os._exit(len(confine(ray)))
    held = confine(setup)
    say(
        claimed_through_ray=0 if setup.spread.is_one else os.WEXITSTATUS(os.wait()[1]),
        is_claimed="processes" in held,
        shared=attempt(lambda: Path("/dev/shm/archipel-must-not-stay").touch()),
        others=attempt(lambda: Path(f"/proc/{os.getppid()}/cmdline").read_bytes()),
    )
    """
    facts = in_child(plain(program), tmp_path, devices)
    Path("/dev/shm/archipel-must-not-stay").unlink(missing_ok=True)
    assert facts.pop("claimed_through_ray") == 0
    if devices == 1:
        claimed = facts.pop("is_claimed")
        assert claimed is ("processes" in HOLDING)
        assert facts == {"shared": "PermissionError", "others": "PermissionError"}
    else:
        assert facts == {"is_claimed": False, "shared": "done", "others": "done"}


@needs("file_reads")
def test_a_home_in_shared_memory_is_not_hidden_from_its_own_work() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="archipel-") as folder:
        file = Path(folder, "scratch")
        file.write_text("x")
        facts = in_child(plain(SHARED), file, folder)
        Path("/dev/shm/archipel-must-not-stay").unlink()
    assert facts["before"] == "done"
    assert any(f"{folder} lies in /dev/shm" in each for each in facts["reasons"])


@needs("no_capabilities", "no_new_privileges")
def test_a_confined_child_has_no_privileges_left() -> None:
    program = """
    restrict(Limits())
    lines = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines())
    say(**{name: lines[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "NoNewPrivs")})
    """
    facts = in_child(plain(program))
    assert facts.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in facts.values()} == {0}


@needs("memory")
def test_memory_is_bounded() -> None:
    program = """
    report = restrict(Limits(address_space_bytes=400 * 2**20))
    say(memory=report.memory, small=attempt(lambda: bytearray(2**20)),
        large=attempt(lambda: bytearray(500 * 2**20)))
    """
    facts = in_child(plain(program))
    assert facts == {"memory": True, "small": "done", "large": "MemoryError"}


@needs("cpu_time")
def test_processor_time_is_bounded() -> None:
    program = """
    say(cpu_time=restrict(Limits(cpu_s=1)).cpu_time)
    while True:
        pass
    """
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + plain(program)], capture_output=True, timeout=60
    )
    assert json.loads(done.stdout) == {"cpu_time": True}
    assert -done.returncode in (signal.SIGXCPU, signal.SIGKILL)


@needs("open_files", "no_core_dump")
def test_open_files_file_sizes_and_core_dumps_are_bounded(tmp_path: Path) -> None:
    program = """
    import resource
    report = restrict(Limits(open_files=20, file_bytes=1000), writable=[Path(sys.argv[1])])
    say(
        holds=[report.open_files, report.file_size, report.no_core_dump],
        files=attempt(lambda: [open("/dev/null") for _ in range(30)]),
        small=attempt(lambda: Path(sys.argv[1], "a").write_bytes(bytes(1000))),
        large=attempt(lambda: Path(sys.argv[1], "b").write_bytes(bytes(1001))),
        core=resource.getrlimit(resource.RLIMIT_CORE),
    )
    """
    facts = in_child(plain(program), tmp_path)
    assert facts == {
        "holds": [True, True, True],
        "files": "OSError",
        "small": "done",
        "large": "OSError",
        "core": [0, 0],
    }


@needs("dies_with_parent")
def test_a_confined_child_dies_with_its_parent() -> None:
    child = PROLOGUE + plain(
        """
        restrict(Limits())
        print(os.getpid(), flush=True)
        time.sleep(60)
        """
    )
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent, child], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    watched = os.pidfd_open(pid)  # readable from the moment the process has ended
    process.kill()
    process.wait()
    ended, _, _ = select.select([watched], [], [], 30.0)
    os.close(watched)
    process.stdout.close()
    assert ended, f"process {pid} outlived its parent"


@needs("file_reads", "network")
@pytest.mark.slow
def test_torch_imports_and_multiplies_inside(tmp_path: Path) -> None:
    program = """
    limits = Limits(address_space_bytes=6 * 2**30, cpu_s=120)
    report = restrict(limits, writable=[Path(sys.argv[1])])
    import torch
    torch.set_num_threads(2)
    product = torch.ones(300, 300) @ torch.ones(300, 300)
    from safetensors.torch import load_file, save_file
    save_file({"product": product}, Path(sys.argv[1]) / "product.safetensors")
    read = load_file(Path(sys.argv[1]) / "product.safetensors")["product"]
    say(value=read[7, 7].item(), holding=report.holding())
    """
    facts = in_child(plain(program), tmp_path, timeout_s=120)
    assert facts["value"] == 300
    assert {"file_reads", "network", "memory"} <= set(facts["holding"])


@needs("no_capabilities", "network")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_is_confined_as_root_is() -> None:
    program = """
    os.setgroups([])
    os.setgid(12345)
    os.setuid(12345)
    from archipel.work.sandbox import kernel
    kernel.prctl(4, 1)  # dumpable again, as a process that started as this user would be
    report = restrict(Limits(address_space_bytes=2**32, cpu_s=100, file_bytes=2**30))
    say(
        holding=report.holding(),
        reasons=report.reasons,
        user=os.getuid(),
        tcp=attempt(socket.socket),
        read=attempt(lambda: Path(sys.argv[1]).read_text()),
    )
    """
    facts = in_child(plain(program), "/etc/hostname")
    assert facts["user"] == 12345
    assert set(facts["holding"]) == set(HOLDING), facts["reasons"]
    assert facts["tcp"] == facts["read"] == "PermissionError"


def test_confinement_after_threads_have_started_is_refused() -> None:
    program = """
    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    say(outcome=attempt(lambda: restrict(Limits())))
    """
    assert in_child(plain(program)) == {"outcome": SandboxError.__name__}


def test_elsewhere_than_on_linux_nothing_holds_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    report = restrict(Limits(address_space_bytes=1, cpu_s=1))
    assert report.holding() == ()
    assert "takes Linux" in report.reasons[0]


def test_what_the_kernel_does_not_offer_is_reported_and_the_rest_holds() -> None:
    program = """
    from archipel.work.sandbox import kernel, seccomp
    def absent(*_, **__):
        raise OSError(38, "Function not implemented")
    kernel.unshare = kernel.drop_capabilities = absent
    kernel.syscall = absent
    report = restrict(Limits(address_space_bytes=2**30))
    say(holding=report.holding(), reasons=report.reasons)
    """
    facts = in_child(plain(program))
    assert {"memory", "no_core_dump", "no_new_privileges"} <= set(facts["holding"])
    assert not {"network", "file_reads", "file_writes", "processes"} & set(facts["holding"])
    assert [reason.partition(":")[0] for reason in facts["reasons"]] == [
        "network namespace",
        "capabilities",
        "Landlock",
        "seccomp",
        "network",
    ]


def test_a_report_names_only_what_holds() -> None:
    report = Report(memory=True, landlock_version=1, reasons=("why",))
    assert report.holding() == ("memory",)


@needs("system_calls")
def test_limits_priorities_and_places_of_others_cannot_be_set() -> None:
    program = """
    import resource
    other = os.getppid()
    restrict(Limits(), network="open" in sys.argv)
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    say(
        own={
            "limits": attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, own)),
            "priority": attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, 19)),
            "place": attempt(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))),
            "schedule": attempt(lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))),
        },
        others={
            "limits": attempt(lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, own)),
            "look at limits": attempt(lambda: resource.prlimit(other, resource.RLIMIT_NOFILE)),
            "priority": attempt(lambda: os.setpriority(os.PRIO_PROCESS, other, 19)),
            "everybody's priority": attempt(lambda: os.setpriority(os.PRIO_USER, 0, 19)),
            "place": attempt(lambda: os.sched_setaffinity(other, {0})),
            "schedule": attempt(
                lambda: os.sched_setscheduler(other, os.SCHED_BATCH, os.sched_param(0))
            ),
            "signal": attempt(lambda: os.kill(other, 0)),
            "signal to all": attempt(lambda: os.kill(-1, 0)),
            "signal by descriptor": attempt(
                lambda: signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)
            ),
        },
    )
    """
    for options in ((), ("open",)):
        facts = in_child(plain(program), *options)
        assert set(facts["own"].values()) == {"done"}
        assert set(facts["others"].values()) == {"PermissionError"}, facts["others"]


@needs("system_calls")
def test_where_processes_meet_the_schedule_of_others_is_passed_over_and_stays() -> None:
    program = """
    other = os.getppid()
    restrict(Limits(may_start_processes=True), network=True)
    before = os.sched_getscheduler(other)
    say(
        told=attempt(lambda: os.sched_setscheduler(other, os.SCHED_BATCH, os.sched_param(0))),
        before=before,
        after=os.sched_getscheduler(other),
        priority=attempt(lambda: os.setpriority(os.PRIO_PROCESS, other, 19)),
    )
    """
    facts = in_child(plain(program))
    assert facts["before"] == facts["after"] != os.SCHED_BATCH
    assert (facts["told"], facts["priority"]) == ("done", "PermissionError")


@needs("system_calls", "file_reads")
def test_times_and_attributes_of_files_cannot_be_set(tmp_path: Path) -> None:
    key = tmp_path / "node.key"
    key.write_text("secret")
    os.utime(key, (5, 5))
    program = """
    key = sys.argv[1]
    open_file = os.open(key, os.O_RDONLY)
    restrict(Limits(), readable=[Path(sys.argv[2])])
    say(
        times=attempt(lambda: os.utime(key, (1, 1))),
        links=attempt(lambda: os.utime(key, (1, 1), follow_symlinks=False)),
        set=attempt(lambda: os.setxattr(key, "user.mark", b"x")),
        set_open=attempt(lambda: os.setxattr(open_file, "user.mark", b"x")),
        remove=attempt(lambda: os.removexattr(key, "user.mark")),
    )
    """
    assert set(in_child(plain(program), key, tmp_path).values()) == {"PermissionError"}
    assert key.stat().st_mtime == 5
    assert os.listxattr(key) == []


@needs("system_calls")
def test_nothing_in_memory_outlives_its_maker() -> None:
    program = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    restrict(Limits())
    say(made=[libc.shmget(0, 4096, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600)])
    """
    assert in_child(plain(program)) == {"made": [-1, -1, -1]}


@needs("network")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_threads_of_an_ordinary_user_are_bounded_and_root_s_are_said_not_to_be() -> None:
    program = """
    if "user" in sys.argv:
        os.setgroups([])
        os.setgid(12345)
        os.setuid(12345)
        from archipel.work.sandbox import kernel
        kernel.prctl(4, 1)
    report = restrict(Limits(threads=20))
    def many():
        for _ in range(40):
            threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    say(holds=report.threads, outcome=attempt(many), reasons=report.reasons)
    os._exit(0)
    """
    assert "user namespace" in str(in_child(plain(program))["reasons"])
    facts = in_child(plain(program), "user")
    assert (facts["holds"], facts["outcome"]) == (True, "RuntimeError"), facts


@needs("system_calls", "file_reads")
def test_a_confined_child_may_confine_what_it_starts_further() -> None:
    program = """
    import subprocess
    inner = (
        "from archipel.work.sandbox import Limits, restrict; from pathlib import Path\\n"
        "import socket, sys\\n"
        "report = restrict(Limits())\\n"
        "print(report.holding())"
    )
    folder = str(Path(sys.argv[1]))
    restrict(Limits(may_start_processes=True), readable=[Path(folder)])
    done = subprocess.run(
        [sys.executable, "-c", inner], env={"PYTHONPATH": folder}, capture_output=True, text=True
    )
    say(said=done.stdout, failed=done.stderr)
    """
    facts = in_child(plain(program), Path(confinement.__file__).parents[3])
    assert facts["failed"] == ""
    for name in ("file_reads", "network", "system_calls", "no_new_processes", "processes"):
        assert name in facts["said"]
