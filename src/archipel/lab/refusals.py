"""Why a lab says no: one class per reason, each with its own problem type (RFC 9457) and status.

A refusal leaves the state as it was; the honest work goes on.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from archipel.records.fields import BlobRef

RETRY_AFTER_S = 2


class Refused(Exception):
    """The lab does not accept this; the message says got, expected, what to do."""

    problem: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    headers: Mapping[str, str] = MappingProxyType({})
    """Beside the problem document."""


class Malformed(Refused):
    """Not a record, or not an envelope."""

    problem, status = "malformed-record", 400


class WronglySigned(Refused):
    """The signature does not hold, or another key signed than the author."""

    problem, status = "bad-signature", 401


class WrongLab(Refused):
    """Addressed to another lab."""

    problem, status = "wrong-lab", 400


class Replayed(Refused):
    """A sequence number that was used before, or that is far ahead: ask which was heard last."""

    problem, status = "replayed-record", 409


class NotAllowed(Refused):
    """The author's key may not do this."""

    problem, status = "not-allowed", 403


class NotJoined(Refused):
    """The author has not joined this lab."""

    problem, status = "not-joined", 403


class NodeIsPaused(Refused):
    """Its operator paused the node: there is no work for it before that ends."""

    problem, status = "node-paused", 409


class Unknown(Refused):
    """No such run, work, version or blob."""

    problem, status = "not-found", 404


class Duplicate(Refused):
    """The work was answered before."""

    problem, status = "duplicate-result", 409


class Late(Refused):
    """The lease ran out or was given back."""

    problem, status = "late-result", 409


class NotYours(Refused):
    """The work is leased to somebody else."""

    problem, status = "not-your-lease", 403


class WrongPolicy(Refused):
    """Sampled from other weights than the lease names."""

    problem, status = "wrong-policy", 422


class WrongContract(Refused):
    """Sampled by another exact contract or class of engines than the run's, or by one where it has none."""

    problem, status = "wrong-contract", 422


class MissingBlob(Refused):
    """The record names bytes that were never uploaded."""

    problem, status = "missing-blob", 422


class WrongDigest(Refused):
    """Uploaded bytes do not hash to their name."""

    problem, status = "wrong-digest", 422


class NoSuchRange(Refused):
    """The range that was asked for begins behind the blob's end."""

    problem, status = "no-such-range", 416

    def __init__(self, detail: str, size: int) -> None:
        """`size`: of the blob, in bytes."""
        super().__init__(detail)
        self.headers = {"Content-Range": f"bytes */{size}"}


class TooLarge(Refused):
    """More bytes than this work can honestly need."""

    problem, status = "too-large", 413


class BadResult(Refused):
    """The payload cannot be read as a result."""

    problem, status = "bad-payload", 422


class WrongShape(BadResult):
    """Counts or lengths that do not match what was asked."""

    problem = "wrong-shape"


class OutOfRange(BadResult):
    """Tokens or log-probabilities that cannot be."""

    problem = "out-of-range"


class NotFinite(BadResult):
    """NaN or infinite log-probabilities."""

    problem = "not-finite"


class WrongLabel(BadResult):
    """The payload names another work or policy."""

    problem = "wrong-label"


class Conflict(Refused):
    """It cannot follow what the ledger already holds."""

    problem, status = "conflict", 409


class InsufficientCredits(Refused):
    """The wallet does not hold so much, or not free to be moved."""

    problem, status = "insufficient-credits", 402


class SettledBefore(Refused):
    """A settlement of this reference stands in the ledger: the same one comes twice."""

    problem, status = "settled-before", 409


class RunOver(Refused):
    """The run is over, and nothing of it is paid any more."""

    problem, status = "run-over", 409


class TooMuch(Refused):
    """Beyond what a lab's accounts may hold or its state remembers."""

    problem, status = "too-much", 422


class NoCharter(Refused):
    """The run has no charter: nobody in the ledger owns what it makes."""

    problem, status = "no-charter", 404


class NotDivided(Refused):
    """The run's shares are not divided yet."""

    problem, status = "shares-not-divided", 409


class NotAHolder(Refused):
    """The author holds no share that counts here."""

    problem, status = "not-a-holder", 403


class TooFewShares(Refused):
    """More shares than the holder has, or fewer than this takes."""

    problem, status = "too-few-shares", 403


class VoteOver(Refused):
    """The time of this vote is over."""

    problem, status = "vote-over", 409


class VotedBefore(Refused):
    """The holder's ballot stands in the ledger; the first one counts."""

    problem, status = "voted-before", 409


class LeadsBack(Refused):
    """The delegation would lead back to its author."""

    problem, status = "delegation-leads-back", 409


class CommittedBefore(Conflict):
    """The same commitment stands in the ledger: whoever lost the receipt need not say it again."""

    problem = "committed-before"


class StorageExhausted(Refused):
    """The lab's disk or quota is full; nothing was recorded."""

    problem, status = "storage-full", 507


class LedgerStopped(Refused):
    """The ledger goes on no more before the lab's next start, and only then it is known what it took in."""

    problem, status = "ledger-stopped", 503


class NoLanding(Refused):
    """The bytes of this blob pass the lab: send them here."""

    problem, status = "no-landing", 404


class NotLeading(Refused):
    """Another lab writes to the ledger that this one shares with it, and follows; it may lead in a moment."""

    problem, status = "not-leading", 503
    headers = MappingProxyType({"Retry-After": str(RETRY_AFTER_S)})


class Busy(Refused):
    """Too much at once, from one key, one address or all; trying again later may help."""

    problem, status = "too-many-requests", 429
    headers = MappingProxyType({"Retry-After": str(RETRY_AFTER_S)})


def require_contract(used: str | None, asked: str | None) -> None:
    """Refuse an answer that was sampled by another exact contract than its run asks for."""
    if used != asked:
        raise WrongContract(
            f"sampled by {used or 'no exact contract'}, the run asks for {asked or 'none'}"
        )


def require_engine(used: str | None, asked: str | None) -> None:
    """Refuse an answer that was sampled by another class of engines than its run asks for."""
    if used != asked:
        raise WrongContract(
            f"sampled by {used or 'an engine without a name'}, the run asks for {asked or 'none'}"
        )


def require_blob(is_here: bool, blob: BlobRef) -> None:
    """Refuse a record that names bytes which are not here."""
    if not is_here:
        raise MissingBlob(f"{blob.digest} ({blob.size} bytes) was not uploaded")
