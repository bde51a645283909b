"""A node that is a decoy: by its secret, some of its answers are wrong by one bit in every rollout (`records.plants`).

Whether auditors look is seen by what they say of these. The wrong bit is the lowest of one log-probability, so whoever
learns from such an answer learns as from the right one. Law: what is planted follows from secret and work alone; the
file is the operator's, readable by nobody else, and lies in the node's home.
"""

import contextlib
import secrets
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.payload import BadPayload, Payload, read_payload, write_payload
from archipel.records.plants import SECRET_BYTES, commitment, is_planted, place_of
from archipel.records.statements import LeaseGranted
from archipel.work.messages import Done

FILE = "decoy.json"
ROLE = "rollouts"
"""The file of an answer that is changed."""
_PLAIN = {"tokens": "I32", "logprobs": "F32", "lengths": "I32", "finished": "U8"}
FORMS = (_PLAIN, _PLAIN | {"sampled": "U8"}, _PLAIN | {"sampled": "U8", "seals": "U8"})
"""Of answers that can be changed: completions, episodes, episodes whose turns were asked."""


@dataclass(frozen=True, slots=True)
class Decoy:
    """In one run, by one key."""

    run: str
    secret: str
    share_milli: int
    is_committed: bool = True
    """Whether the lab has said that the commitment is in its ledger; until then nobody works by it."""

    @classmethod
    def fresh(cls, run: str, share_milli: int) -> Self:
        """With a secret of its own, and not committed to."""
        return cls(run, secrets.token_hex(SECRET_BYTES), share_milli, is_committed=False)

    def commitment(self, did: str) -> str:
        """What is committed to before the node with this key works."""
        return commitment(self.run, did, self.secret, self.share_milli)


def keep(home: Path, decoy: Decoy) -> None:
    """In the home of its node, until it is revealed.

    Raises:
        FileExistsError: another one is kept there. OSError.
    """
    found = kept(home)
    if found is not None and not _is_same(found, decoy):
        raise FileExistsError(
            f"{home / FILE} is there already: reveal that decoy first (archipel node decoy --reveal), or use another home"
        )
    write_json(home / FILE, asdict(decoy))


def _is_same(one: Decoy, other: Decoy) -> bool:
    return replace(one, is_committed=other.is_committed) == other


def kept(home: Path) -> Decoy | None:
    """The decoy that the node of this home is, or is to be; None: it is none.

    Raises:
        Unreadable: the file is damaged, or no decoy. OSError: it cannot be read.
    """
    found = read_json(home / FILE)
    if found is None:
        return None
    try:
        decoy = Decoy(**found)
        decoy.commitment("")
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreadable(f"{home / FILE} says no decoy: {error}") from None
    return decoy


def at_work(home: Path) -> Decoy | None:
    """The decoy by which the node of this home answers; None: it is none.

    Raises:
        Unreadable: as `kept`; or nobody knows whether it was committed to: neither right answers nor wrong ones would do.
        OSError.
    """
    found = kept(home)
    if found is not None and not found.is_committed:
        raise Unreadable(
            f"{home / FILE} is a decoy in {found.run} that the lab has not confirmed; finish it first: "
            f"archipel node decoy {found.run} --node-home {home}"
        )
    return found


def forget(home: Path) -> None:
    """It was revealed. Raises OSError."""
    (home / FILE).unlink(missing_ok=True)


def planted(decoy: Decoy | None, grant: LeaseGranted, done: Done, roots: Sequence[Path]) -> Done:
    """The answer as the decoy gives it: as it is, or with one wrong bit in every rollout.

    Raises:
        BadAnswer: it should be wrong and cannot be made so; it must not go out right. OSError.
    """
    spec, work = grant.spec, grant.work
    if decoy is None or not isinstance(spec, RolloutSpec) or spec.run != decoy.run:
        return done
    if not is_planted(decoy.secret, work, decoy.share_milli):
        return done
    path = Path(done.files[ROLE])
    with AnswerFile(path, roots) as file:
        payload = _read(file.data(), work)
    wrong = path.with_name(f"{path.name}.planted")
    wrong.write_bytes(write_payload(spoiled(payload, decoy.secret, work)))
    return done.model_copy(update={"files": {**done.files, ROLE: wrong}})


def _read(data: bytes, work: str) -> Payload:
    for form in FORMS:
        with contextlib.suppress(BadPayload):
            return read_payload(data, form)
    raise BadAnswer(
        f"{work} is to be planted, and its rollouts are of no form that a decoy can change"
    )


def spoiled(payload: Payload, secret: str, work: str) -> Payload:
    """With the lowest bit of one log-probability of every rollout wrong, where the model sampled.

    Raises:
        BadAnswer: in one of them it sampled nothing.
    """
    logprobs = array("f", payload.tensors["logprobs"])
    masks = payload.tensors.get("sampled")
    start = 0
    for number, length in enumerate(payload.tensors["lengths"]):
        places = list(_sampled(masks, start, length))
        if not places:
            raise BadAnswer(f"{work} is to be planted, and in rollout {number} nothing was sampled")
        at = places[place_of(secret, work, number, len(places))]
        logprobs[at] = _next_to(logprobs[at])
        start += length
    return Payload({**payload.tensors, "logprobs": logprobs}, payload.metadata)


def _sampled(masks: array | None, start: int, length: int) -> Iterator[int]:
    return (at for at in range(start, start + length) if masks is None or masks[at])


def _next_to(value: float) -> float:
    """The same number but for the lowest of its 32 bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    (found,) = struct.unpack("<f", struct.pack("<I", bits ^ 1))
    return float(found)
