"""What a node believes: every document in the right hand, for this lab, this run and this request."""

import base64
import json
from typing import Any

import pytest

from archipel.identity import Identity
from archipel.node.sealed import (
    Founding,
    NotBelieved,
    check_inputs,
    folder_of,
    founding_of,
    grant_of,
    inputs_of,
    opening_of,
    publication_of,
)
from archipel.records.documents import AcceptedWork, Inputs, LabFacts, inputs_digest
from archipel.records.kinds import WORDS_OF
from archipel.records.statements import LeaseRequested, RunOpened, Statement
from people import envelope, identity, ref
from specimens import ANSWERS, POLICY, SMALL, SPECS

LAB, NODE, OPERATOR, OTHER = (identity(name) for name in ("lab", "node", "operator", "other"))
FOUNDING = Founding(LAB.did, frozenset({OPERATOR.did}))
OPENED = SMALL["run.opened"]
assert isinstance(OPENED, RunOpened)
WORKS = tuple(
    AcceptedWork(work=f"run.{n}", spec=SPECS["rollout"], answer=ANSWERS["rollout"]) for n in (3, 4)
)


def sealed(signer: Identity, name: str, **changed: Any) -> str:
    """The specimen called `name`, with some fields changed, in an envelope of `signer`."""
    statement = SMALL[name].model_copy(update={"author": signer.did} | changed)
    return envelope(signer, statement).decode()


def flipped(envelope_json: str) -> str:
    """One bit of the signed bytes is another."""
    fields = json.loads(envelope_json)
    payload = bytearray(base64.b64decode(fields["payload"]))
    payload[len(payload) // 2] ^= 1
    fields["payload"] = base64.b64encode(payload).decode()
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def refused(problem: str, read: Any, *arguments: Any) -> None:
    with pytest.raises(NotBelieved) as caught:
        read(*arguments)
    assert caught.value.problem == problem
    assert str(caught.value)


def facts(founding: str, lab: str = LAB.did) -> LabFacts:
    return LabFacts(
        lab=lab, software="", operators=(), ledger_key="", ledger_size=1, founding=founding
    )


def test_a_lab_is_founded_by_its_own_key() -> None:
    honest = sealed(LAB, "lab.opened", lab=LAB.did)
    assert founding_of(facts(honest)) == FOUNDING
    for lie in (
        facts(flipped(honest)),
        facts(honest, lab=OTHER.did),
        facts(sealed(OTHER, "lab.opened", operators=(OTHER.did,))),
        facts(sealed(LAB, "lab.opened", lab=OTHER.did)),
        facts(sealed(LAB, "node.left")),
        facts("{}"),
    ):
        refused("bad-founding", founding_of, lie)


def test_a_run_is_opened_by_an_operator_of_this_lab_under_its_own_name() -> None:
    honest = sealed(OPERATOR, "run.opened")
    assert opening_of(honest, FOUNDING, "run") == OPENED
    changed_pace = OPENED.pace.model_copy(update={"seed": 8})
    for lie in (
        flipped(honest),
        sealed(OTHER, "run.opened"),
        sealed(LAB, "run.opened"),
        sealed(OPERATOR, "run.opened", lab=OTHER.did),
        sealed(OPERATOR, "run.opened", run="another"),
        sealed(OPERATOR, "run.stopped"),
        sealed(OTHER, "run.opened", author=OPERATOR.did, pace=changed_pace),
    ):
        refused("bad-opening", opening_of, lie, FOUNDING, "run")


def test_a_folder_is_named_by_all_that_its_opening_says() -> None:
    names = {
        folder_of(OPENED.model_copy(update=changed))
        for changed in ({}, {"seq": 2}, {"lab": OTHER.did}, {"recipe": ref(b"other")})
    }
    assert len(names) == 4
    assert all(name.startswith("run-") and "/" not in name for name in names)


def test_a_version_is_published_by_a_key_that_its_run_trusts() -> None:
    honest = sealed(NODE, "work.answered (update)")
    made = publication_of(honest, OPENED)
    assert (made.version, made.policy, made.delta) == (4, POLICY, ref(b"delta"))
    for lie in (
        flipped(honest),
        sealed(OTHER, "work.answered (update)"),
        sealed(LAB, "work.answered (update)"),
        sealed(NODE, "work.answered (update)", work="another.2"),
        sealed(NODE, "work.answered (update)", lab=OTHER.did),
        sealed(NODE, "work.answered (rollout)"),
        sealed(NODE, "work.answered (evaluate)"),
        sealed(NODE, "node.left"),
        "\ud800",
    ):
        refused("bad-version", publication_of, lie, OPENED)


def test_a_grant_answers_one_request_of_ours() -> None:
    request = LeaseRequested(
        lab=LAB.did, author=NODE.did, seq=4, kinds=("rollout", "update"), holding=()
    )
    name = "lease.granted (rollout)"
    assert grant_of(sealed(LAB, name), request) == SMALL[name]
    for lie in (
        flipped(sealed(LAB, name)),
        sealed(OTHER, name),
        sealed(LAB, name, node=OTHER.did),
        sealed(LAB, name, request_seq=5),
        sealed(LAB, name, lab=OTHER.did),
        sealed(LAB, name, work="another.1"),
        sealed(LAB, "lease.granted (evaluate)"),
    ):
        refused("bad-grant", grant_of, lie, request)


def test_inputs_are_those_that_the_labs_grant_has_the_digest_of() -> None:
    def shown(signer: Identity, **changed: Any) -> Inputs:
        spec = SPECS["update"].model_copy(update={"inputs": inputs_digest(WORKS)} | changed)
        grant = sealed(signer, "lease.granted (update)", spec=spec)
        return Inputs(grant=grant, inputs=WORKS)

    assert inputs_of(shown(LAB), OPENED, 4) == WORKS
    altered = WORKS[0].model_copy(
        update={"answer": ANSWERS["rollout"].model_copy(update={"num_tokens": 21})}
    )
    rollout = sealed(LAB, "lease.granted (rollout)")
    for lie in (
        shown(OTHER),
        shown(LAB, run="another"),
        shown(LAB, version=5),
        shown(LAB, inputs=None),
        shown(LAB).model_copy(update={"inputs": WORKS[::-1]}),
        shown(LAB).model_copy(update={"inputs": (altered, WORKS[1])}),
        shown(LAB).model_copy(update={"inputs": ()}),
        Inputs(grant=rollout, inputs=WORKS),
        Inputs(grant=flipped(rollout), inputs=WORKS),
    ):
        refused("bad-inputs", inputs_of, lie, OPENED, 4)


def test_inputs_beside_a_lease_are_those_that_its_spec_has_the_digest_of() -> None:
    spec = SPECS["update"].model_copy(update={"inputs": inputs_digest(WORKS)})
    needs = WORDS_OF["update"].needs(spec)
    check_inputs(WORKS, needs)
    refused("bad-inputs", check_inputs, WORKS[:1], needs)


def test_no_bit_of_a_signed_document_can_be_changed() -> None:
    """Every byte of an envelope: the statement, the key, the signature, the form."""
    honest = sealed(NODE, "work.answered (update)")
    for place in range(len(honest)):
        altered = honest[:place] + chr(ord(honest[place]) ^ 1) + honest[place + 1 :]
        refused("bad-version", publication_of, altered, OPENED)


def test_every_statement_is_refused_where_another_is_expected() -> None:
    for name, statement in SMALL.items():
        assert isinstance(statement, Statement)
        if not isinstance(statement, RunOpened):
            refused("bad-opening", opening_of, sealed(OPERATOR, name), FOUNDING, "run")
