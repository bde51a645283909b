"""What a node believes of a lab: statements in their envelopes, and what a digest in one covers.

A lab answers over any wire, so each document that a node acts on is opened here: whose signature, for
which lab, which run, which request. Law: pure, no I/O; whatever does not hold is `NotBelieved`, whose
`problem` names the document.
What it does not show: that a lab's own key tells everybody the same (`ledger` is for that).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from archipel.identity import Envelope, IdentityError, verify
from archipel.records.canonical import sha256_digest
from archipel.records.chain import Publication
from archipel.records.documents import AcceptedWork, Inputs, LabFacts, inputs_digest
from archipel.records.kinds import WORDS_OF
from archipel.records.statement import Statement
from archipel.records.statements import (
    RECORD_TYPE,
    InvalidRecord,
    LabOpened,
    LeaseGranted,
    LeaseRequested,
    NotTheAuthor,
    RunOpened,
    WorkAnswered,
    decode_said,
    encode,
)
from archipel.records.succession import LabSucceeded
from archipel.records.words import Needs, WorkAnswer

FOLDER_DIGITS = 12
"""Hexadecimal digits of an opening's digest in the name of a run's folder."""

NO_LABS = frozenset[str]()

S = TypeVar("S", bound=Statement)


class NotBelieved(ValueError):
    """A document that does not say what it should, or not in the right hand."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Founding:
    """Whose lab it is and who may open runs."""

    lab: str
    operators: frozenset[str]
    earlier: tuple[tuple[str, frozenset[str]], ...] = ()
    """(lab, its operators) of those whose ledger it was before, the first one first."""

    @property
    def labs(self) -> frozenset[str]:
        """It, and those before it."""
        return frozenset((self.lab, *(lab for lab, _ in self.earlier)))

    def may_open(self, lab: str, author: str) -> bool:
        """Whether this key could open runs while the ledger was that lab's."""
        return author in dict((*self.earlier, (self.lab, self.operators))).get(lab, ())


def founding_of(facts: LabFacts) -> Founding:
    """Raises NotBelieved: not signed by the key that the lab goes by, or by one that this one's successions lead back to.

    That a successor had the right to continue is not looked at: whoever begins at it chose it (`succession` is for the others).
    """
    founded = statement_in(facts.founding, LabOpened, "bad-founding")
    now = Founding(founded.author, frozenset(founded.operators))
    for sealed in facts.successions:
        said = statement_in(sealed, LabSucceeded, "bad-founding")
        if (said.predecessor, said.lab) != (now.lab, said.author) or said.author in now.labs:
            raise NotBelieved(
                "bad-founding",
                f"{said.author} continues {said.predecessor}, and the lab was {now.lab}",
            )
        now = Founding(
            said.author, frozenset(said.operators), (*now.earlier, (now.lab, now.operators))
        )
    if founded.lab != founded.author or now.lab != facts.lab:
        raise NotBelieved(
            "bad-founding",
            f"lab {facts.lab} was founded by {founded.author} as {founded.lab}, and is {now.lab}'s now",
        )
    return now


def opening_of(sealed: str, founding: Founding, run: str) -> RunOpened:
    """How `run` was opened. Raises NotBelieved: by nobody who may, for another run or lab."""
    opened = statement_in(sealed, RunOpened, "bad-opening")
    if opened.run != run or opened.lab not in founding.labs:
        raise NotBelieved(
            "bad-opening", f"it opens {opened.run} at {opened.lab}, not {run} at {founding.lab}"
        )
    if not founding.may_open(opened.lab, opened.author):
        raise NotBelieved("bad-opening", f"{opened.author} is no operator of this lab")
    return opened


def folder_of(opened: RunOpened) -> str:
    """A folder name that no other run of this name, here or at another lab, ever has."""
    digest = sha256_digest(encode(opened)).removeprefix("sha256:")
    return f"{opened.run}-{digest[:FOLDER_DIGITS]}"


def grant_of(sealed: str, request: LeaseRequested) -> LeaseGranted:
    """The lab's own word that this lease answers `request`. Raises NotBelieved."""
    grant = statement_in(sealed, LeaseGranted, "bad-grant")
    if (grant.author, grant.lab) != (request.lab, request.lab):
        raise NotBelieved("bad-grant", f"{grant.kind} by {grant.author}, not by the lab")
    if (grant.node, grant.request_seq) != (request.author, request.seq):
        raise NotBelieved(
            "bad-grant", f"for request {grant.request_seq} of {grant.node}, not for ours"
        )
    if grant.spec.kind not in request.kinds:
        raise NotBelieved("bad-grant", f"a lease of kind {grant.spec.kind} was not asked for")
    if grant.work.rpartition(".")[0] != grant.spec.run:
        raise NotBelieved("bad-grant", f"work {grant.work} is none of run {grant.spec.run}")
    return grant


def lease_in(sealed: str, lab: str) -> LeaseGranted:
    """A lease of somebody's, by the lab's own word. Raises NotBelieved."""
    grant = statement_in(sealed, LeaseGranted, "bad-grant")
    if (grant.author, grant.lab) != (lab, lab):
        raise NotBelieved("bad-grant", f"{grant.kind} by {grant.author}, not by the lab")
    return grant


def answer_in(sealed: str, grant: LeaseGranted) -> WorkAnswer:
    """What the node that had this lease answered. Raises NotBelieved: by another key, or to other work."""
    said = statement_in(sealed, WorkAnswered, "bad-answer")
    if (said.lab, said.work, said.author) != (grant.lab, grant.work, grant.node):
        raise NotBelieved(
            "bad-answer", f"{said.work} answered by {said.author}, not {grant.work} by {grant.node}"
        )
    return said.answer


def publication_of(sealed: str, opened: RunOpened, labs: frozenset[str] = NO_LABS) -> Publication:
    """A version of this run; labs: whose ledger it was besides the one that it was opened at.

    Raises:
        NotBelieved: not by a key that the run trusts, or none of its.
    """
    said = statement_in(sealed, WorkAnswered, "bad-version")
    if said.lab not in labs | {opened.lab} or said.work.rpartition(".")[0] != opened.run:
        raise NotBelieved("bad-version", f"work {said.work} at {said.lab} is none of {opened.run}")
    if said.author not in opened.trusted:
        raise NotBelieved("bad-version", f"{said.author} is not trusted in run {opened.run}")
    made: Publication | None = WORDS_OF[said.answer.kind].publishes(said.answer)
    if made is None:
        raise NotBelieved("bad-version", f"an answer of kind {said.answer.kind} publishes nothing")
    return made


def check_inputs(inputs: Sequence[AcceptedWork], needs: Needs) -> None:
    """Raises NotBelieved: not the answers that the spec has the digest of."""
    found = inputs_digest(inputs)
    if found != needs.inputs:
        raise NotBelieved(
            "bad-inputs", f"{len(inputs)} answers of digest {found}, expected {needs.inputs}"
        )


def inputs_of(
    document: Inputs, opened: RunOpened, version: int, labs: frozenset[str] = NO_LABS
) -> tuple[AcceptedWork, ...]:
    """What `version` of the run is made from; labs: as of `publication_of`.

    Raises:
        NotBelieved: the grant is not the lab's, not for this version, or has another digest.
    """
    grant = statement_in(document.grant, LeaseGranted, "bad-inputs")
    needs: Needs = WORDS_OF[grant.spec.kind].needs(grant.spec)
    is_labs = grant.author == grant.lab and grant.lab in labs | {opened.lab}
    if not is_labs or grant.spec.run != opened.run:
        raise NotBelieved("bad-inputs", f"grant of {grant.work} by {grant.author} is not the lab's")
    if needs.memory is None or needs.memory.version != version - 1:
        raise NotBelieved("bad-inputs", f"{grant.work} does not make version {version}")
    check_inputs(document.inputs, needs)
    return document.inputs


def statement_in(sealed: str, kind: type[S], problem: str) -> S:
    """The statement in an envelope, its author being its signer. Raises NotBelieved: none, or of another kind."""
    try:
        envelope = Envelope.from_json(sealed.encode())
        statement = decode_said(envelope.payload, verify(envelope, RECORD_TYPE))
    except (IdentityError, InvalidRecord, NotTheAuthor, UnicodeEncodeError) as error:
        raise NotBelieved(problem, str(error)) from None
    if not isinstance(statement, kind):
        raise NotBelieved(problem, f"it is a {statement.kind}")
    return statement
