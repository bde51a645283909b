"""By what a run is sampled where no exact contract fixes every bit: whose engine, in which precision, on what.

Evidence about floating-point results is calibrated for one such class (`proofs`), so a run states it, a node states
its own, and a result names it. A name is `<engine>-<precision>-<device>`, such as `archipel-fp32-cpu`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

EngineName = Literal["archipel", "transformers", "vllm"]
Precision = Literal["fp32", "bf16"]
DeviceKind = Literal["cpu", "cuda"]
ENGINES: tuple[str, ...] = get_args(EngineName)

EngineClass = Annotated[str, Field(pattern=r"^[a-z]{1,16}-[a-z0-9]{1,8}-[a-z]{1,8}$")]
EngineClasses = Annotated[tuple[EngineClass, ...], Field(min_length=1, max_length=8)]
"""As nodes state them, known here or not."""

CLASSES = frozenset(
    f"{engine}-{precision}-{device}"
    for engine in ENGINES
    for precision in get_args(Precision)
    for device in get_args(DeviceKind)
)
OWN_ENGINE = "archipel"
MEASURED = frozenset(
    f"{engine}-{precision}-cpu"
    for engine in (OWN_ENGINE, "transformers")
    for precision in get_args(Precision)
)
"""Those whose answers can be audited by measure: their noise is the run's, and a calibration knows them."""
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


def class_of(engine: str, dtype: str, device: str) -> str | None:
    """Of a machine's own choice (`float32` or `bfloat16`; a torch device); None: it is none that is known here."""
    kind = device.partition(":")[0]
    name = f"{engine}-{_PRECISIONS.get(dtype, dtype)}-{kind}"
    return name if name in CLASSES else None


def prover_of(engine: str, precision: str) -> str:
    """What a calibration calls whoever samples so: the precision, and before it an engine that is not our own."""
    return precision if engine == OWN_ENGINE else f"{engine}-{precision}"


def precision_of(name: str) -> str:
    """The precision that a class names."""
    return name.split("-")[1]
