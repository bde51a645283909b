"""What the bits of an answer come from beside the question: weights, tokenizer, arithmetic, and where it needs one, the machine.

Parts: `Origin` and its fingerprint; `weights_digest`, `tokenizer_digest`, `adapter_digest`; `processor`. Law: by the exact
contract nothing of the machine is named, since nothing depends on it.
"""

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archipel.model.adapter import Adapter
from archipel.model.manifest import Over, describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.canonical import canonical_json, sha256_digest

DIGITS = 16
"""Of a digest, in a fingerprint."""
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
_PLAIN = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class Origin:
    """Of one served model's answers."""

    contract: str
    """Identity of the exact contract, or `archipel-` and what the weights are held as."""
    weights: str
    """Digest of the whole weights."""
    tokenizer: str
    adapter: str | None = None
    """Digest of the adapter over them."""
    is_beside: bool = False
    """Whether adapters are loaded: rows without one are then rounded as theirs are."""
    threads: int = 0
    machine: str = ""
    """Versions and processor; empty by the exact contract, as are the threads."""

    @property
    def is_exact(self) -> bool:
        """Whether any machine gives the same bits."""
        return not self.machine

    @property
    def fingerprint(self) -> str:
        """One word for all of it."""
        parts = [self.contract]
        if not self.is_exact:
            parts += [f"{self.threads}t", self.machine]
        parts.append(f"w{_short(self.weights)}")
        if self.adapter is not None:
            parts.append(f"a{_short(self.adapter)}")
        if self.is_beside and not self.is_exact:
            parts.append("beside-adapters")
        return "-".join(parts)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:DIGITS]


def machine(device: str) -> str:
    """What floating-point sums may hang on here: the tensor library, and who adds."""
    kind = torch.device(device).type
    who = processor() if kind == "cpu" else _word(_accelerator(device))
    return f"torch{torch.__version__}-{who}"


def processor() -> str:
    """Class of the processor here: its instructions as the tensor library uses them, and its make."""
    named = _cpuinfo(Path("/proc/cpuinfo"))
    make = named or _word(platform.processor()) or "unknown"
    return f"{_word(platform.machine())}-{_word(torch.backends.cpu.get_cpu_capability()).lower()}-{make}"


def _cpuinfo(path: Path) -> str:
    """Vendor, family and model; empty where the system does not say."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(16_384).splitlines()
    except OSError:
        return ""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return ".".join(_word(found[name]) for name in _CPU_FIELDS if name in found)


def _accelerator(device: str) -> str:
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return torch.device(device).type


def _word(text: str) -> str:
    return _PLAIN.sub("-", text).strip("-")


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Of weights by name: where all are bf16 numbers, the state digest that a run's versions have; however they lie in files."""
    halves = {name: _as_bf16(tensor) for name, tensor in state.items()}
    sound = {name: each for name, each in halves.items() if each is not None}
    if len(sound) == len(state):
        return describe(sound, 0, None).state
    entries = [
        {"name": name, "dtype": str(tensor.dtype), "shape": list(tensor.shape), "digest": _digest(tensor)}
        for name, tensor in sorted(state.items())
    ]  # fmt: skip
    return sha256_digest(canonical_json(entries))


def _as_bf16(tensor: Tensor) -> Tensor | None:
    """The same numbers; None: bf16 does not hold them."""
    if tensor.dtype == torch.bfloat16:
        return tensor
    held = tensor.to(torch.bfloat16)
    return held if torch.equal(held.to(tensor.dtype), tensor) else None


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return sha256_digest(flat.numpy().data)


def adapter_digest(adapter: Adapter, base: str) -> str:
    """Of an adapter over weights of this digest, as a run's versions have it."""
    state = {name: each.detach().to(torch.bfloat16) for name, each in adapter.state.items()}
    return describe(state, 0, None, Over(base, adapter.form)).state


def tokenizer_digest(tokenizer: Tokenizer, folder: Path) -> str:
    """Of what turns texts into tokens and back, the template of chats and the tokens that end included."""
    with (folder / "tokenizer.json").open("rb") as file:
        vocabulary = hashlib.file_digest(file, "sha256").hexdigest()
    said = {
        "vocabulary": vocabulary,
        "template": tokenizer.chat_template,
        "special": dict(tokenizer.special_tokens),
        "ends": list(tokenizer.stop_ids),
    }
    return sha256_digest(canonical_json(said))
