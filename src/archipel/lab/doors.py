"""What a door may ask at a lab, and what follows: one table for admission, one for the fold. Pure.

Law: only the key that an open run names as its door asks in it, one number after another, within the run's bounds.
"""

from collections.abc import Callable

from archipel.lab import joining, keys, refusals
from archipel.lab.programmes import door, door_questions
from archipel.lab.state import OPEN_PHASES, LabState, Run
from archipel.records.changed import changed
from archipel.records.door import AdaptQuestion, AtDoor, DoorAsked, DoorWithdrawn, SampleQuestion
from archipel.records.fields import BlobRef
from archipel.records.programmes.door import DoorPace
from archipel.records.statements import BlobOffered

HasBlob = Callable[[BlobRef], bool]


def is_door(state: LabState, did: str) -> bool:
    """Whether an open run names this key as its door."""
    return most_bytes(state, did) > 0


def most_bytes(state: LabState, did: str) -> int:
    """Of a blob that this key may upload for its questions; 0: it is no open run's door."""
    runs = (state.runs[name] for name in state.live)
    paces = (run.opened.pace for run in runs if run.phase in OPEN_PHASES)
    own = (pace for pace in paces if isinstance(pace, DoorPace) and pace.door == did)
    return max((max(pace.question_bytes, pace.state_bytes) for pace in own), default=0)


def admit(state: LabState, statement: AtDoor, now_ms: int, has_blob: HasBlob) -> None:
    """Refuse, or return.

    1 its author is the door of an open run  2 the number is the next one  3 there is room  4 it is within the run's bounds
    5 what it builds on is there, and the bytes that it names
    """
    joining.admit_author(state, statement.author, now_ms)
    # 1
    run = _own_run(state, statement)
    if isinstance(statement, DoorWithdrawn):
        return
    if run.phase not in OPEN_PHASES:
        raise refusals.Conflict(f"run {run.name} is {run.phase.value}; nothing is asked in it")
    # 2
    run = door_questions.swept(run, now_ms)
    slice_, pace = door.course(run), door.pace(run)
    if statement.number != slice_.next_number:
        raise refusals.Conflict(
            f"question {statement.number}; the next of {run.name} has number {slice_.next_number}"
        )
    # 3
    if len(slice_.asked) + len(slice_.answered) >= pace.queued:
        raise refusals.Busy(
            f"{len(slice_.asked)} questions of {run.name} wait and {len(slice_.answered)} answers are kept; withdraw what "
            f"nobody needs any more, at most {pace.queued} are taken in"
        )
    # 4, 5
    if isinstance(statement.question, AdaptQuestion):
        _check_adapt(run, statement, statement.question)
    else:
        _check_sample(run, statement, statement.question)
    for blob in named_blobs(statement):
        refusals.require_blob(has_blob(blob), blob)


def _own_run(state: LabState, statement: AtDoor) -> Run:
    run: Run | None = state.runs.get(statement.run)
    if run is None:
        raise refusals.Unknown(f"no run {statement.run}; this lab has {sorted(state.runs)[:8]}")
    pace = run.opened.pace
    if not isinstance(pace, DoorPace) or pace.door != statement.author:
        raise refusals.NotAllowed(f"{statement.author} is not the door of run {run.name}")
    return run


def _check_adapt(run: Run, said: DoorAsked, question: AdaptQuestion) -> None:
    slice_, pace = door.course(run), door.pace(run)
    _check_tokens(said, pace.turn_tokens)
    if question.begins is not None and question.begins.form.rank > pace.rank:
        raise refusals.TooLarge(
            f"an adapter of rank {question.begins.form.rank}; {run.name} takes at most {pace.rank}"
        )
    _check_bytes("operations", question.operations, pace.question_bytes)
    _check_bytes("a state", question.state, pace.state_bytes)
    if question.after is not None:
        known = slice_.asked.get(question.after) or slice_.answered.get(question.after)
        _check_trained(run, question.after, known and known.question)
    if question.again is not None:
        kept = slice_.answered.get(question.again)
        _check_trained(run, question.again, kept and kept.question)
        if kept is not None and kept.num_tokens != said.num_tokens:
            raise refusals.WrongShape(
                f"{said.num_tokens} tokens; question {question.again}, which it does again, has {kept.num_tokens}"
            )


def _check_trained(run: Run, number: int, known: AdaptQuestion | SampleQuestion | None) -> None:
    if known is None:
        raise refusals.Unknown(
            f"question {number} of {run.name} is not kept: it was withdrawn, has grown too old or was never asked"
        )
    if not isinstance(known, AdaptQuestion):
        raise refusals.Conflict(f"question {number} of {run.name} samples; no state comes of it")


def _check_sample(run: Run, said: DoorAsked, question: SampleQuestion) -> None:
    pace = door.pace(run)
    _check_tokens(said, pace.sample_tokens)
    _check_bytes("prompts", question.questions, pace.question_bytes)
    _check_bytes("an adapter", question.adapter, pace.state_bytes)


def _check_tokens(said: DoorAsked, most: int) -> None:
    if said.num_tokens > most:
        raise refusals.TooLarge(
            f"a question of {said.num_tokens} tokens; {said.run} takes at most {most}: ask in parts"
        )


def _check_bytes(what: str, blob: BlobRef | None, most: int) -> None:
    if blob is not None and blob.size > most:
        raise refusals.TooLarge(f"{what} of {blob.size} bytes; this run takes at most {most}")


def admit_upload(state: LabState, offer: BlobOffered) -> None:
    """Refuse bytes that come without a lease from who is no operator, unless a door's question may need them."""
    if offer.author in state.operators:
        return
    most = most_bytes(state, offer.author)
    if not most:
        raise refusals.NotAllowed(
            "only an operator, or the door of an open run, uploads without a lease"
        )
    if offer.blob.size > most:
        raise refusals.TooLarge(
            f"{offer.blob.size} bytes offered by a door; at most {most} can be needed"
        )


def followed(state: LabState, statement: AtDoor, at_ms: int) -> LabState:
    """The state after it.

    Raises:
        KeyError, TypeError, ValueError: it cannot follow.
    """
    why = keys.why_barred(state, statement.author, at_ms)
    run = door_questions.swept(state.runs[statement.run], at_ms)
    if why is not None or door.pace(run).door != statement.author:
        raise ValueError(why or f"{statement.author} is not the door of {run.name}")
    if isinstance(statement, DoorWithdrawn):
        run = door_questions.gone(run, statement.numbers)
    else:
        if run.phase not in OPEN_PHASES or statement.number != door.course(run).next_number:
            raise ValueError(f"question {statement.number} of {run.name} is not its next one")
        run = door_questions.entered(run, statement, at_ms)
    return changed(state, runs=state.runs.put(run.name, run))


def named_blobs(statement: AtDoor) -> tuple[BlobRef, ...]:
    """Bytes that it names."""
    return door.blobs_of(statement.question) if isinstance(statement, DoorAsked) else ()
