"""What `archipel serve calibrate` writes and a cascade reads: gate, confidence and threshold, in one small JSON file.

Parts: `Policy`, `read_policy`, `write_policy`. Law: the file is closed and bounded; it names the small model whose hidden states it reads,
and is refused for any other.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from archipel.key_file import write_private
from archipel.records.document import BadDocument, read_document
from archipel.records.fields import Closed
from archipel.serve.cascade.confidence import NUM_SIGNS, Confidence, Rising
from archipel.serve.cascade.fitting import Fitted, Rules
from archipel.serve.cascade.heads import Head

MAX_BYTES = 4 * 1024 * 1024
MAX_WIDTH = 65_536
MAX_KNOTS = 10_000
Number = Annotated[float, Field(allow_inf_nan=False)]
Chance = Annotated[float, Field(ge=0.0, le=1.0)]
DIGESTED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "adapter_config.json",
)  # fmt: skip


class BadPolicy(ValueError):
    """No file that `archipel serve calibrate` wrote, or one for another model."""


class HeadForm(Closed):
    """`heads.Head`."""

    weights: Annotated[tuple[Number, ...], Field(min_length=1, max_length=MAX_WIDTH)]
    bias: Number

    def head(self) -> Head:
        """As it computes."""
        return Head(np.array(self.weights), self.bias)


class Measured(Closed):
    """What calibration found on the questions that it was given, for people."""

    questions: Annotated[int, Field(ge=0)]
    small_quality: Chance
    large_quality: Chance
    quality: Chance
    """Of the cascade, on answers that neither head had seen."""
    share: Chance
    """Of questions that the large model answered."""
    straight: Chance
    calibration_error: Chance
    gate_s: Annotated[Number, Field(ge=0.0)]
    """Seconds a question."""
    small_s: Annotated[Number, Field(ge=0.0)]
    large_s: Annotated[Number, Field(ge=0.0)]


class Policy(Closed):
    """When the small model's answer is given."""

    archipel_cascade: Literal[1] = 1
    small: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the small model's directory."""
    gate: HeadForm
    """Over the small model's mean hidden state of a question."""
    alpha: Chance
    signs: HeadForm
    """Over `confidence.signs_of`."""
    rising_at: Annotated[tuple[Chance, ...], Field(max_length=MAX_KNOTS)]
    rising_value: Annotated[tuple[Chance, ...], Field(max_length=MAX_KNOTS)]
    threshold: Chance
    break_even: Chance
    measured: Measured
    precision: Annotated[str, Field(max_length=32)] = ""
    """What the small model's weights were held as; empty: not known."""
    large_precision: Annotated[str, Field(max_length=32)] = ""
    """The same of the large one; empty, too, where it answered from elsewhere."""

    @model_validator(mode="after")
    def _fits(self) -> "Policy":
        pairs = (self.rising_at, self.rising_value)
        if len(self.rising_at) != len(self.rising_value) or any(
            list(each) != sorted(each) for each in pairs
        ):
            raise ValueError("rising_at and rising_value are as many, and neither falls")
        if len(self.signs.weights) != NUM_SIGNS:
            raise ValueError(f"signs has {len(self.signs.weights)} weights; expected {NUM_SIGNS}")
        return self

    @property
    def confidence(self) -> Confidence:
        """As it computes."""
        return Confidence(self.alpha, self.signs.head(), Rising(self.rising_at, self.rising_value))

    def other_than(self, small: str, large: str) -> str:
        """In what precision the models are held now, if another than calibrated; empty: the same, or not known of one."""
        sides = (("small", self.precision, small), ("large", self.large_precision, large))
        told = [
            f"the {name} model as {before}, now as {now}"
            for name, before, now in sides
            if before and now and before != now
        ]
        return " and ".join(told)

    @property
    def rules(self) -> Rules:
        """As it decides."""
        return Rules(self.threshold, self.break_even)


@dataclass(frozen=True)
class Models:
    """The two models that were asked."""

    small: str
    """Digest of the small one's directory."""
    precision: str = ""
    """What its weights were held as."""
    large_precision: str = ""
    """The same of the large one; empty: not known."""


def policy_of(fitted: Fitted, rules: Rules, models: Models, measured: Measured) -> Policy:
    """What is written of it."""
    sure = fitted.confidence
    return Policy(
        small=models.small,
        precision=models.precision,
        large_precision=models.large_precision,
        gate=_form(fitted.gate),
        alpha=sure.alpha,
        signs=_form(sure.head),
        rising_at=sure.rising.at,
        rising_value=sure.rising.value,
        threshold=rules.threshold,
        break_even=rules.break_even,
        measured=measured,
    )


def read_policy(path: Path, small: str, width: int) -> Policy:
    """The file. small: digest of the small model's directory; width: of its hidden states.

    Raises:
        BadPolicy: see there. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    found = parse_policy(data, str(path))
    if found.small != small or len(found.gate.weights) != width:
        raise BadPolicy(
            f"{path} was calibrated for the small model {found.small[:12]}, this one is {small[:12]}; calibrate again with "
            "archipel serve calibrate"
        )
    return found


def parse_policy(data: bytes, name: str) -> Policy:
    """Raises BadPolicy."""
    if len(data) > MAX_BYTES:
        raise BadPolicy(f"{name} is larger than {MAX_BYTES} bytes; expected a cascade's policy")
    try:
        return read_document(Policy, data)
    except BadDocument as error:
        raise BadPolicy(
            f"{name} is no policy of a cascade: {error}; write one with archipel serve calibrate"
        ) from None


def write_policy(path: Path, policy: Policy) -> None:
    """Whole or not at all."""
    write_private(path, policy.model_dump_json(indent=1).encode() + b"\n", anew=True)


def digest_of(folder: Path) -> str:
    """Of the files that decide what a model directory computes."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or path.name in DIGESTED:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _form(head: Head) -> HeadForm:
    return HeadForm(weights=tuple(float(each) for each in head.weights), bias=head.bias)
