"""What the commands share at the door: folders, addresses, errors that people can mend."""

import contextlib
import ctypes
import errno
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from archipel import SAME_HASHES, source_environment
from archipel.cli.clock import clock_ms
from archipel.cli.logs import log_to as log_to

DEFAULT_LAB_URL = "http://127.0.0.1:8440"


class Mendable(Exception):
    """Something the person at the keyboard can mend; the message says how."""


KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
"""glibc reads these when a process starts: up to 256 MiB of freed memory stays with the process, so
that tensors of every step do not fault the same pages in again (a fifth of training's time)."""

_MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}
"""mallopt(3)."""

FEW_SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "32"}
"""oneDNN, and torch around it, keep what they made for each shape of a product, 1024 of each. Every update has
other shapes, so that is memory which grows over updates and is hardly used again: 441 to 1016 MB over 25
updates of a model of 0.4M parameters; with so many, which are those of one pass through the network,
382 to 398 in the same time. A node's steps come back to their shapes: there it costs a tiny model a quarter
of its speed, and one of 15M nothing."""


IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""vLLM is three processes unless told; in one it starts in a third of the time, and ends with the work process."""


NAMED_LABS = "archipel.named_labs"
"""Where click's context keeps `named_labs`."""


class LabUrl(click.ParamType):
    """The address of a lab on a command line, or several with commas, or the name of its key, which cards that this machine
    knows tell addresses of; one that no lab can have is a mistake in usage.
    """

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As `node.address` spells it."""
        from archipel.node.address import BadAddress, lab_addresses

        did = None
        if str(value).startswith("did:key:"):
            did = KeyName().convert(value, param, ctx)
            value = _found(did)
        try:
            found = ",".join(lab_addresses(value))
        except BadAddress as error:
            self.fail(str(error), param, ctx)
        if did is not None and ctx is not None:
            ctx.meta.setdefault(NAMED_LABS, {})[found] = did
        return found


def named_labs() -> dict[str, str]:
    """Of this command: addresses of a lab -> the key by which it was named instead, of those that were."""
    named: dict[str, str] = click.get_current_context().meta.get(NAMED_LABS, {})
    return named


class KeyName(click.ParamType):
    """The name of a key, did:key:z6Mk..., on a command line."""

    name = "did"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it came; the key in it is one."""
        from archipel.identity import BadDid, did_to_public_key

        try:
            did_to_public_key(value)
        except BadDid as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _found(did: str) -> str:
    """Addresses of the lab with this key, with commas. Raises Mendable."""
    from archipel.directory.naming import NotKnown, addresses_of
    from archipel.directory.shelf import Unkept

    folder = home_folder("labs", None, make=False)
    with mending(NotKnown, Unkept, OSError):
        return ",".join(addresses_of(folder, did, clock_ms()))


LAB = click.option(
    "--lab",
    "lab_url",
    default=DEFAULT_LAB_URL,
    show_default=True,
    metavar="URL",
    type=LabUrl(),
    help="The lab that is asked.",
)
"""Which lab a command asks."""


def home_folder(name: str, given: Path | None, make: bool = True) -> Path:
    """`given`, or ARCHIPEL_HOME/name, or ~/.archipel/name.

    make: with mode 0700, if it is not there; whoever only reads leaves nothing behind.

    Raises:
        Mendable: nobody said where, and this user has no home; or it cannot be made.
    """
    folder = given if given is not None else _root() / name
    if not make:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Mendable(
            f"cannot make {folder}: {error.strerror}; choose another with --home"
        ) from None
    return folder


def _root() -> Path:
    """A user id without a name, as containers have, has no home either."""
    try:
        return Path(os.environ.get("ARCHIPEL_HOME") or "~/.archipel").expanduser()
    except RuntimeError:
        raise Mendable(
            "this user has no home folder; name one in ARCHIPEL_HOME, or with --home if the command "
            "has it"
        ) from None


_LETTERS = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_MODULES = ("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUTF8")
_LIBRARIES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_DEVICES = (
    *("CUDA_", "NVIDIA_", "CUBLAS_", "CUDNN_", "NCCL_"),
    *("HIP_", "HSA_", "ROCM_", "ROCR_", "ROCBLAS_", "MIOPEN_", "GPU_", "AMD_"),
    *("ZE_", "ONEAPI_", "SYCL_", "ONEDNN_", "DNNL_", "MKL_", "KMP_"),
    *("PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "VLLM_", "GLOO_", "ASCEND_"),
)
"""How accelerators and the libraries for them are seen; all begin the names of variables."""
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def child_environment() -> dict[str, str]:
    """What a work process may know of this machine: which programs, modules, libraries and devices.

    Nothing else goes along, and nothing whose name sounds like a secret.
    """
    named = {*_LETTERS, *_MODULES, *_LIBRARIES, *FEW_SHAPES}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in named or (name.startswith(_DEVICES) and not any(s in name for s in _SECRET))
    }
    folders = (source_environment().get("PYTHONPATH"), os.environ.get("PYTHONPATH"))
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, folders))} if any(folders) else {}
    return IN_PROCESS | kept | modules | thread_environment(1) | KEEP_MEMORY | SAME_HASHES


def keep_memory() -> None:
    """`KEEP_MEMORY` for this process, which has started already; where the C library is another, nothing."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, parameter in _MALLOPT.items():
            mallopt(parameter, int(KEEP_MEMORY[name]))


def readable_folders(private: Path | None = None) -> tuple[Path, ...]:
    """Folders that a confined work process must read: where its modules and libraries lie.

    private: the agent's home; what contains it, or the user's own home, stays closed.
    """
    named = (os.environ.get(name, "") for name in ("PYTHONPATH", "LD_LIBRARY_PATH"))
    asked = [Path(part) for value in named for part in value.split(os.pathsep)]
    homes = (private, Path(os.environ.get("HOME") or "/nobody"))
    closed = [home.resolve() for home in homes if home is not None]
    opened = [
        folder.resolve()
        for folder in asked
        if folder.is_absolute()
        and folder.is_dir()
        and not any(home.is_relative_to(folder.resolve()) for home in closed)
    ]
    return tuple(dict.fromkeys((Path(__file__).resolve().parents[2], *opened)))


def start_over_with_same_hashes() -> None:
    """Replace this process by one that makes the same tasks as every other (`SAME_HASHES`), if it may not.

    Python reads the variable once, before any of our code runs.
    """
    is_same = all(os.environ.get(name) == value for name, value in SAME_HASHES.items())
    if is_same or os.name != "posix" or not sys.executable:
        return
    os.environ.update(SAME_HASHES)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  ourselves, no shell


def thread_environment(threads: int) -> dict[str, str]:
    """Passive waiting and explicit counts: spinning threads starve their neighbours."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS adds up in any order
    }


@contextlib.contextmanager
def until_ctrl_c() -> Iterator[None]:
    """For what runs until Ctrl-C: that is its proper end."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


ADVICE = {
    errno.EACCES: "; see to its owner and mode, or name another place",
    errno.EROFS: "; name a place that can be written",
    errno.ENOTDIR: "; name another place",
    errno.ENOSPC: "; make room there and try again",
}
"""What the system said of a file -> what to do about it."""


@contextlib.contextmanager
def mending(*errors: type[Exception]) -> Iterator[None]:
    """Let these errors end as one sentence."""
    try:
        yield
    except errors as error:
        said = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            said = f"{error.filename}: {error.strerror}" + ADVICE.get(error.errno or 0, "")
        raise Mendable(said) from None


def printable(text: str) -> str:
    """Text of strangers as a terminal may show it: nothing in it moves the cursor or rings."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print for machines or for people; a figure that is not known is null to machines."""
    click.echo(json.dumps(_known(value), indent=2, allow_nan=False) if as_json else text())


def at_work(text: str) -> None:
    """What takes a while now: said where somebody watches, beside the results."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"{text} ...", err=True)


def columns() -> int | None:
    """Of the terminal that standard output is; None where lines may be of any length: a file, a pipe.

    COLUMNS, where it is set, is believed everywhere.
    """
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdecimal() and int(asked[:6]) > 0:
        return int(asked[:6])
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError, AttributeError):  # no terminal, or no standard output at all
        return None


def _known(value: Any) -> Any:
    """JSON has no word for NaN or infinity."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
