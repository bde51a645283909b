"""Where records of sampled sequences are kept, and how a training question gets its log-probabilities from them.

Acts on the journal, and `believed`. Law: a record is of one tenant, and lives a day from its last use.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from archipel.door import sequences
from archipel.door.bounds import Bounds
from archipel.door.hands import Completion
from archipel.door.refusals import Declined
from archipel.door.wire.provenance import Provenance, Span
from archipel.training.tenants.operations import Datum, ForwardBackward

AT_ONCE = 400
"""Places of one query."""


def put(  # noqa: PLR0913  the columns of its table
    db: sqlite3.Connection,
    tenant: str,
    prompt: tuple[int, ...],
    ended: Iterable[tuple[str, Completion]],
    weights: str,
    bounds: Bounds,
    now_ms: int,
) -> None:
    """What came of one prompt. ended: by the ids that were promised."""
    digest = sequences.prefix_digest(np.array(prompt, np.int32))
    db.executemany(
        "INSERT OR REPLACE INTO sequences VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(name, tenant, digest, len(prompt), np.array(each.tokens, "<i4").tobytes()),
                *(np.array(each.logprobs, "<f4").tobytes(), weights, now_ms + bounds.sequence_ms),
            )
            for name, each in ended
        ],
    )


def lengths(db: sqlite3.Connection, tenant: str) -> set[int]:
    """How long the prompts are that it sampled after."""
    rows = db.execute("SELECT DISTINCT prompt_length FROM sequences WHERE tenant = ?", (tenant,))
    return {int(row[0]) for row in rows}


def candidates(
    db: sqlite3.Connection, tenant: str, prompts: Sequence[tuple[int, bytes]], now_ms: int
) -> list[sequences.Sequence]:
    """Records whose prompt is one of these, by length and digest."""
    found = []
    for start in range(0, len(prompts), AT_ONCE):
        part = prompts[start : start + AT_ONCE]
        marks = ", ".join(["(?, ?)"] * len(part))
        rows = db.execute(
            "SELECT * FROM sequences WHERE tenant = ? AND expires_ms > ? AND (prompt_length, prompt) IN "  # noqa: S608
            f"(VALUES {marks})",
            (tenant, now_ms, *(value for each in part for value in each)),
        )
        found += [_sequence(row) for row in rows]
    return found


def by_id(
    db: sqlite3.Connection, tenant: str, name: str, now_ms: int
) -> tuple[sequences.Sequence, bytes] | None:
    """A tenant's own record, and the digest of its prompt."""
    row = db.execute(
        "SELECT * FROM sequences WHERE id = ? AND tenant = ? AND expires_ms > ?",
        (name, tenant, now_ms),
    ).fetchone()
    return None if row is None else (_sequence(row), row["prompt"])


def renew(
    db: sqlite3.Connection, tenant: str, names: Collection[str], bounds: Bounds, now_ms: int
) -> None:
    """They were used."""
    db.executemany(
        "UPDATE sequences SET expires_ms = ? WHERE id = ? AND tenant = ?",
        [(now_ms + bounds.sequence_ms, each, tenant) for each in names],
    )


def sweep(db: sqlite3.Connection, bounds: Bounds, now_ms: int) -> int:
    """The old ones go, and of a tenant with too many those that were used longest ago."""
    count = db.execute("DELETE FROM sequences WHERE expires_ms <= ?", (now_ms,)).rowcount
    many = db.execute(
        "SELECT tenant, count(*) FROM sequences GROUP BY tenant HAVING count(*) > ?",
        (bounds.sequences,),
    ).fetchall()
    for tenant, held in many:
        count += db.execute(
            "DELETE FROM sequences WHERE id IN "
            "(SELECT id FROM sequences WHERE tenant = ? ORDER BY expires_ms LIMIT ?)",
            (tenant, held - bounds.sequences),
        ).rowcount
    return count


def believed(
    db: sqlite3.Connection,
    tenant: str,
    operation: ForwardBackward,
    provenance: Sequence[Provenance | None],
    may_be_foreign: bool,
    now_ms: int,
) -> tuple[tuple[Datum, ...], set[str]]:
    """The same data with the recorded log-probabilities, and which records were used.

    may_be_foreign: then places that no record covers keep what the client said.

    Raises:
        Declined: a place that the loss needs was not sampled here; a span of provenance does not hold.
    """
    known, used, made = lengths(db, tenant), set[str](), []
    for number, (datum, spans) in enumerate(zip(operation.data, provenance, strict=True)):
        if spans is not None:
            _check_spans(db, tenant, datum, spans, number, now_ms)
        prompts = sequences.prefixes(datum, known)
        found = sequences.covered(datum, candidates(db, tenant, tuple(prompts.items()), now_ms))
        bare = sequences.needs(datum, operation.loss) & ~found.is_covered
        if bare.any() and not may_be_foreign:
            place = int(bare.argmax())
            raise Declined(
                "impossible",
                f"datum {number} has an advantage at place {place} ({int(bare.sum())} such places), whose token this "
                "door has not sampled after these tokens within a day; train on what was sampled here, or ask the "
                "door's operator for a key with the scope foreign-samples",
            )
        used |= found.used
        logprobs = found.logprobs
        kept = {} if may_be_foreign else sequences.within(datum, operation.loss, found.is_covered)
        for each in (logprobs, *kept.values()):
            each.flags.writeable = False
        made.append(replace(datum, inputs={**datum.inputs, "logprobs": logprobs, **kept}))
    return tuple(made), used


def _check_spans(
    db: sqlite3.Connection,
    tenant: str,
    datum: Datum,
    spans: Provenance,
    number: int,
    now_ms: int,
) -> None:
    for part, tokens in (
        (spans.inputs, datum.tokens_T),
        (spans.targets, datum.inputs["target_tokens"]),
    ):
        at = 0
        for span in part:
            if not _holds(
                db, tenant, tokens[at : at + span.length], span, sequences.whole(datum), now_ms
            ):
                raise Declined(
                    "impossible",
                    f"a span of provenance of datum {number}, from token {at}, says {span.length} tokens of sequence "
                    f"{span.sequence[:64]!r}, and this door's record of it (kept for a day) does not have them there",
                )
            at += span.length


def _holds(
    db: sqlite3.Connection,
    tenant: str,
    tokens: np.ndarray,
    span: Span,
    whole: np.ndarray,
    now_ms: int,
) -> bool:
    """Whether a record has these tokens there; of its prompt there is a digest, so the datum has to begin with it."""
    known = by_id(db, tenant, span.sequence, now_ms)
    if known is None:
        return False
    record, prompt = known
    if not span.is_prompt:
        there = record.tokens[span.offset : span.offset + span.length]
        return len(there) == span.length and bool((there == tokens).all())
    head = whole[: record.prompt_length]
    is_prompt = sequences.prefix_digest(head) == prompt
    there = head[span.offset : span.offset + span.length]
    return is_prompt and len(there) == span.length and bool((there == tokens).all())


def _sequence(row: sqlite3.Row) -> sequences.Sequence:
    return sequences.Sequence(
        row["id"],
        row["prompt_length"],
        np.frombuffer(row["tokens"], "<i4"),
        np.frombuffer(row["logprobs"], "<f4"),
    )
