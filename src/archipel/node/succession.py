"""May this lab be believed to continue the one that a node knows? What the node holds, and what follows from it. Pure.

Law: a node turns to another lab because a key agreed that its own lab named while it was alive, or that the charter of a run
names which it works for; never because somebody at an address says so. What it does not show: that there is no second lab
that as many agreed to (witnesses show that), nor that all entries follow (`archipel ledger verify` does).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from archipel.ledger.taken_over import BadSuccession, check_taken_over
from archipel.node.sealed import Founding, NotBelieved, founding_of, statement_in
from archipel.records.documents import LabFacts
from archipel.records.statements import RunOpened
from archipel.records.succession import LabSucceeded, Successor, SuccessorsNamed

PROBLEM = "bad-succession"


@dataclass(frozen=True, slots=True)
class Known:
    """What a node holds of those that may continue its lab's ledger."""

    founding: Founding
    named: tuple[Successor, ...] = ()
    """By the lab, while it was alive."""
    chartered: tuple[Successor, ...] = ()
    """By the charters of runs that this node works for."""
    ask: tuple[str, ...] = ()
    """Where else it may look, by the lab's word."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where they answer, as far as that is known."""
        found = (each.address for each in (*self.named, *self.chartered))
        return tuple(dict.fromkeys((*(each for each in found if each is not None), *self.ask)))


def known_by(facts: LabFacts, founding: Founding) -> Known:
    """Whom the lab names. Raises NotBelieved: that is not said by an operator of it."""
    if facts.successors is None:
        return Known(founding)
    said = statement_in(facts.successors, SuccessorsNamed, PROBLEM)
    if said.lab != founding.lab or said.author not in founding.operators:
        raise NotBelieved(PROBLEM, f"{said.author} named successors, who is no operator of the lab")
    return Known(founding, said.successors, ask=said.ask)


def chartered_in(opened: Iterable[RunOpened]) -> tuple[Successor, ...]:
    """Whom the charters of these runs name."""
    charters = [each.pace.charter for each in opened]
    found = [each for charter in charters if charter for each in charter.successors or ()]
    return tuple(dict.fromkeys(found))


def continues(facts: LabFacts, known: Founding) -> Founding:
    """Whose lab it says it is; it says, too, that it continues the known one's ledger, and what is known of the time before.

    Raises:
        NotBelieved: it does not.
    """
    now, before = founding_of(facts), (*known.earlier, (known.lab, known.operators))
    if now.earlier[: len(before)] != before:
        raise NotBelieved(PROBLEM, f"{now.lab} does not continue the ledger of {known.lab}")
    return now


def follows(facts: LabFacts, known: Known) -> Founding:
    """Whose lab it is that continues the known one, by what it says of itself.

    1. Its successions lead from the known lab to it, and before that say what is known. 2. Every one of them is what it says.
    3. To every one a key agreed that the node has from its lab, of the first one, or from a charter.

    Raises:
        NotBelieved: any of these fails.
    """
    now = continues(facts, known.founding)
    allowed = {each.did for each in (*known.named, *known.chartered)}
    chartered = {each.did for each in known.chartered}
    for sealed in facts.successions[len(known.founding.earlier) :]:
        said = statement_in(sealed, LabSucceeded, PROBLEM)
        try:
            agreed = check_taken_over(said)
        except BadSuccession as error:
            raise NotBelieved(PROBLEM, str(error)) from None
        if agreed.isdisjoint(allowed):
            raise NotBelieved(
                PROBLEM,
                f"{sorted(agreed)} agreed that {said.author} continues {said.predecessor}; this node knows of "
                f"{sorted(allowed) or 'nobody'} who may say so",
            )
        allowed = chartered  # whom a successor named, only those know who met it
    return now


def with_charters(known: Known, opened: Iterable[RunOpened]) -> Known:
    """With whom these runs' charters name, too."""
    found = (*known.chartered, *chartered_in(opened))
    return replace(known, chartered=tuple(dict.fromkeys(found)))
