"""Both models answer the same questions, one at a time, as they would be served; what each said and took is kept line by line.

Parts: `Row`, `Journal` (resumable), `measure`, `evidence_of`. Laws: a question that stands in the journal is not asked again; the journal of
other models is refused, never mixed; it holds no word of a question or an answer.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.serve.asked import Asked
from archipel.serve.cascade.fitting import Evidence
from archipel.serve.cascade.hidden import hidden_of
from archipel.serve.cascade.policy import MAX_WIDTH
from archipel.serve.cascade.probes import Probe
from archipel.serve.question import DeadEnd, Ended, TookTooLong, TooLong
from archipel.serve.served import Served

KEY = "calibration"
MAX_BYTES = 1 << 30
MAX_TOKENS = 65_536
"""Of one answer; as many as may be asked for."""
ANSWER_S = 1800.0
"""For one answer in all; whatever takes longer serves nobody."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Quality = Annotated[float, Field(ge=0.0, le=1.0)]


class BadJournal(ValueError):
    """What stands there is no journal of these models."""


class Row(BaseModel):
    """One question, answered by both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probe: str
    hidden: Annotated[tuple[Number, ...], Field(max_length=MAX_WIDTH)]
    logprobs: Annotated[tuple[Number, ...], Field(max_length=MAX_TOKENS)]
    small: Quality
    large: Quality
    gate_s: Seconds
    small_s: Seconds
    large_s: Seconds


class Journal:
    """Rows on the disk.

    Raises:
        BadJournal: see there.
    """

    def __init__(self, path: Path, models: str) -> None:
        """models: names all that rows depend on beside the question."""
        self.path, self.rows = path, dict[str, Row]()
        head = f"archipel cascade 1 {models}\n".encode()
        if not path.exists() or path.stat().st_size == 0:
            path.write_bytes(head)
            return
        if path.stat().st_size > MAX_BYTES:
            raise BadJournal(f"{path} is larger than {MAX_BYTES} bytes; remove it and begin anew")
        data = path.read_bytes()
        if not data.startswith(head):
            raise BadJournal(
                f"{path} was measured with other models or settings; remove it to begin anew, or name another output"
            )
        whole, _, torn = data[len(head) :].rpartition(b"\n")
        for row in rows_of(whole, str(path)):
            self.rows[row.probe] = row
        if torn:
            os.truncate(path, len(data) - len(torn))

    def keep(self, row: Row) -> None:
        """Put a row on the disk."""
        with self.path.open("ab") as file:
            file.write(row.model_dump_json().encode() + b"\n")
        self.rows[row.probe] = row


def rows_of(data: bytes, name: str) -> list[Row]:
    """Raises BadJournal."""
    try:
        return [Row.model_validate_json(line) for line in data.splitlines() if line]
    except (ValidationError, RecursionError):
        raise BadJournal(f"{name} holds a line that is no row; remove it and begin anew") from None


@dataclass(frozen=True)
class Answered:
    """One answer."""

    text: str
    logprobs: tuple[float, ...]
    finished: bool
    seconds: float


async def measure(
    probes: Sequence[Probe],
    small: Served,
    large: Asked,
    journal: Journal,
    max_new_tokens: int,
    on_row: Callable[[Row], None],
) -> list[Row]:
    """The row of each question, those measured before included.

    Raises:
        Refusal: a model cannot answer one at all.
    """
    for probe in probes:
        if probe.digest in journal.rows:
            on_row(journal.rows[probe.digest])
            continue
        now = datetime.now().astimezone()
        asked = probe.asked(small.name, small.chat_template is not None, max_new_tokens)
        began = time.perf_counter()
        hidden = await hidden_of(small, asked, KEY, now, small.adapter)
        gate_s = time.perf_counter() - began
        little = await said_of(small, probe, max_new_tokens, now)
        much = await said_of(large, probe, max_new_tokens, now)
        row = Row(
            probe=probe.digest,
            hidden=tuple(round(float(each), 6) for each in hidden),
            logprobs=tuple(round(max(each, -1e4), 6) for each in little.logprobs),
            small=probe.grade(little.text, little.finished),
            large=probe.grade(much.text, much.finished),
            gate_s=gate_s,
            small_s=little.seconds,
            large_s=much.seconds,
        )
        journal.keep(row)
        on_row(row)
    return [journal.rows[probe.digest] for probe in probes]


async def said_of(asked: Asked, probe: Probe, max_new_tokens: int, now: datetime) -> Answered:
    """What a model says; of a question that is too long for it nothing, as of a document that it cannot finish.

    Raises:
        TookTooLong: it is not whole in time. Refusal: it could not be answered at all.
    """
    question = probe.asked(asked.name, asked.chat_template is not None, max_new_tokens)
    began, text, logprobs, why = time.perf_counter(), "", list[float](), "length"
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await asked.ask(question, KEY, now)
            async for told in answer.told():
                if isinstance(told, Ended):
                    why = told.why
                else:
                    text += told.text
                    logprobs += [token.logprob for token in told.tokens]
    except (TooLong, DeadEnd):
        text = ""
    except TimeoutError:
        raise TookTooLong(
            f"{asked.name} did not end an answer within {ANSWER_S:.0f} s; ask for fewer tokens, or take a quicker model"
        ) from None
    return Answered(text, tuple(logprobs), why == "stop", time.perf_counter() - began)


def evidence_of(rows: Sequence[Row]) -> Evidence:
    """As it is fitted on."""
    return Evidence(
        hidden=np.array([row.hidden for row in rows]),
        logprobs=[row.logprobs for row in rows],
        small=np.array([row.small for row in rows]),
        large=np.array([row.large for row in rows]),
        gate_s=np.array([row.gate_s for row in rows]),
        small_s=np.array([row.small_s for row in rows]),
        large_s=np.array([row.large_s for row in rows]),
    )
