"""One statement of every kind, and the largest that its bounds allow."""

import hashlib
from typing import Any, get_args

from archipel.identity import Identity
from archipel.ledger.taken_over import agreed
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records import fields as bounds
from archipel.records.adapter import TARGETS, AdapterForm
from archipel.records.audits import AuditsDrawn, VerdictContested
from archipel.records.bids import Bid, Market, seal_of
from archipel.records.compute import MAX_HOURS_A_WEEK, ComputePledged, ComputeWithdrawn
from archipel.records.door import (
    MAX_QUESTION_NUMBER,
    MAX_QUESTION_TOKENS,
    MAX_SHARE,
    MAX_WITHDRAWN_AT_ONCE,
    AdaptQuestion,
    Begun,
    DoorAsked,
    DoorWithdrawn,
    SampleQuestion,
)
from archipel.records.fields import BlobRef
from archipel.records.grants import (
    MAX_GRANT_DOORS,
    MAX_GRANT_MS,
    MAX_VERIFIERS,
    GrantCharged,
    GrantEnded,
    GrantGiven,
    GrantRequested,
    PoolFunded,
    PoolPledged,
    PoolRuled,
)
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.audit import AuditAnswer, AuditSpec, Difference, Part
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import MergeAnswer, MergeSpec, Verdict
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.membership import (
    MAX_ALLOWED,
    MAX_USES,
    Effort,
    JoiningRuled,
    KeyRevoked,
    NodePaused,
    NodeResumed,
)
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.ownership import (
    MAX_PROPOSAL_CHARACTERS,
    BallotCast,
    MeterNamed,
    ProposalOpened,
    RevenueEntered,
    ShareTransferred,
    Spending,
    TreasuryGiven,
    VoteDelegated,
)
from archipel.records.pauses import RunPaused, RunResumed, RunRetried
from archipel.records.plants import PlantsCommitted, PlantsRevealed
from archipel.records.pretraining import (
    MAX_COMMITMENTS,
    MAX_CONTRIBUTIONS,
    MAX_SHARDS,
    CorpusPace,
)
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe_charter import (
    MAX_CONTRIBUTORS,
    MAX_WEIGHT,
    MILLION,
    UNITS,
    CharterTerms,
    Contributor,
)
from archipel.records.rounds import (
    BidCommitted,
    BidRevealed,
    BidWithdrawn,
    MarketCleared,
    MarketOpened,
)
from archipel.records.seeded import RunSeeded
from archipel.records.stakes import MAX_MOVED_MICRO, StakeGiven, StakePut, StakeReturned
from archipel.records.statements import (
    AnyStatement,
    BlobOffered,
    Capabilities,
    LabOpened,
    LeaseExpired,
    LeaseGranted,
    LeaseRequested,
    LeaseReturned,
    ModelFile,
    NodeJoined,
    NodeLeft,
    NodesForgotten,
    RunOpened,
    RunStopped,
    SnapshotTaken,
    Statement,
    WorkAnswered,
)
from archipel.records.succession import (
    MAX_AGREEMENTS,
    MAX_ASKED,
    MAX_SUCCESSORS,
    Agreement,
    LabSucceeded,
    Successor,
    SuccessorsNamed,
)
from archipel.records.terms import Terms
from archipel.records.withdrawal import ContributionWithdrawn
from archipel.records.words import SavedMemory, WorkAnswer, WorkSpec
from granted import DOOR, RULE, attested, permitted
from keyring import delegation, invitation
from metered import METER, Book
from outer import GATE, outer_pace
from people import identity, ref
from questions import DOOR_TERMS, FORM, door_pace
from world import PACE, TERMS

LAB, NODE, OPERATOR = (identity(name).did for name in ("lab", "node", "operator"))
POLICY = ref(b"weights").digest

SPECS: dict[str, WorkSpec] = {
    "rollout": RolloutSpec(
        run="run", version=3, policy=POLICY, groups=(8, 9), prompts=(ref(b"prompts"),)
    ),
    "update": UpdateSpec(
        run="run",
        version=4,
        parent=POLICY,
        inputs=ref(b"inputs").digest,
        memory=SavedMemory(version=3, blob=ref(b"memory")),
    ),
    "evaluate": EvaluateSpec(run="run", version=4, policy=POLICY),
    "audit": AuditSpec(
        run="run",
        work="run.7",
        record=ref(b"record").digest,
        inputs=ref(b"inputs").digest,
        version=3,
        policy=POLICY,
        blobs=(ref(b"prompts"),),
    ),
}
SPECS |= {
    "inner_step": InnerStepSpec(
        run="run", version=3, policy=POLICY, index=2, steps=20, first_step=60, corpus=ref(b"text")
    ),
    "merge": MergeSpec(
        run="run",
        version=4,
        parent=POLICY,
        inputs=ref(b"inputs").digest,
        memory=SavedMemory(version=3, blob=ref(b"memory")),
    ),
}
SPECS |= {
    "adapt": AdaptSpec(
        run="run", question=7, state=ref(b"state"), operations=ref(b"operations"), num_tokens=4096
    ),
    "sample": SampleSpec(
        run="run",
        question=8,
        policy=POLICY,
        adapter=ref(b"adapter"),
        questions=ref(b"prompts"),
        num_tokens=512,
    ),
}
DIFFERENCE = Difference(group=8, rollout=1, position=3, what="token", recorded="17", recomputed="5")
ANSWERS: dict[str, WorkAnswer] = {
    "rollout": RolloutAnswer(policy=POLICY, result=ref(b"r"), num_tokens=20, busy_ms=7),
    "update": UpdateAnswer(
        version=4,
        parent=None,
        policy=POLICY,
        manifest=ref(b"manifest"),
        anchor=None,
        delta=ref(b"delta"),
        memory=None,
        prompts=(PromptBatch(batch=5, blob=ref(b"prompts")),),
        metrics={"reward_micro": -5, "loss_micro": 12},
    ),
    "evaluate": EvaluateAnswer(
        version=4, policy=POLICY, report=ref(b"report"), metrics={"greedy_micro": 990_000}
    ),
    "audit": AuditAnswer(
        record=ref(b"record").digest, says="differs", difference=DIFFERENCE, positions=20, busy_ms=3
    ),
}
ANSWERS |= {
    "inner_step": InnerStepAnswer(
        policy=POLICY,
        steps=20,
        num_tokens=20_480,
        payload=ref(b"payload"),
        commitments=(ref(b"half").digest, ref(b"whole").digest),
        metrics={"loss_micro": 2_100_000},
        busy_ms=900,
    ),
    "merge": MergeAnswer(
        version=4,
        parent=None,
        policy=POLICY,
        manifest=ref(b"manifest"),
        anchor=None,
        delta=ref(b"delta"),
        memory=None,
        verdicts=(
            Verdict(work="run.8", weight_micro=500_000, score=12),
            Verdict(work="run.9", weight_micro=0, reason="loss", score=-3),
        ),
        metrics={"loss_micro": 2_000_000},
        gate=ref(b"text"),
        next_gate=ref(b"other text").digest,
    ),
}

ANSWERS |= {
    "adapt": AdaptAnswer(
        state=ref(b"state after"),
        outcomes=ref(b"outcomes"),
        num_tokens=4096,
        busy_ms=900,
        machine="x86_64 avx2",
    ),
    "sample": SampleAnswer(policy=POLICY, result=ref(b"samples"), num_tokens=300, busy_ms=80),
}


BID = Bid(
    bidder=NODE,
    market=Market(kind="rollout", capability="any", unit="output_token"),
    price_micro=300_000,
    lots=2,
    region="eu-north",
    valid_from_ms=0,
    valid_until_ms=1_800_000_300_000,
)
NONCE = "5a" * 32
_ASKED: dict[str, Any] = {
    "run": "run",
    "tenant": ref(b"tenant").digest,
    "share": 3,
    "num_tokens": 4096,
    "lasts_ms": 600_000,
}
_ROUND: dict[str, Any] = {"run": "run", "number": 7}


def _granted(spec: Any) -> LeaseGranted:
    return LeaseGranted(
        **_by(LAB, 5),
        work="run.1",
        node=NODE,
        request_seq=4,
        deadline_ms=1_800_000_000_000,
        price_micro=2000,
        spec=spec,
    )


NEXT_LAB = identity("next lab")


def taken_over(
    lab: Identity, seq: int, size: int, operators: tuple[str, ...], reason: str, agreements: int
) -> LabSucceeded:
    """A succession as it is signed: the head is the first lab's, and so many others agreed."""
    first, root = identity("lab"), hashlib.sha256(b"root").digest()
    head = sign_tree_head(first, lab_key(first.did).name, size, root)
    said = {"predecessor": first.did, "size": size, "root": f"sha256:{root.hex()}"}
    signers = [identity(f"holder {n}") for n in range(agreements)]
    return LabSucceeded(
        lab=lab.did,
        author=lab.did,
        seq=seq,
        **said,
        head=head.note.decode(),
        operators=operators,
        reason=reason,
        agreements=tuple(
            agreed(each, Agreement(**said, successor=lab.did, by=each.did)) for each in signers
        ),
    )


def _by(author: str, seq: int) -> dict[str, Any]:
    return {"lab": LAB, "author": author, "seq": seq}


CAPABILITIES = Capabilities(
    kinds=("rollout",),
    engine="archipel",
    device="cpu",
    software="archipel 1",
    speed_milli=12_000_500,
    batch_invariant=True,
    protections=("network", "file_reads"),
)

SMALL: dict[str, Statement] = {
    "lab.opened": LabOpened(**_by(LAB, 1), operators=(OPERATOR,)),
    "run.opened": RunOpened(
        **_by(OPERATOR, 1),
        run="run",
        recipe=ref(b"recipe"),
        terms=Terms(**TERMS),
        pace=RlPace(**PACE),
        model=(ModelFile(name="config.json", blob=ref(b"{}")),),
        trusted=(NODE,),
    ),
    "run.opened (pretrain)": RunOpened(
        **_by(OPERATOR, 9),
        run="run",
        recipe=ref(b"recipe"),
        terms=Terms(**TERMS),
        pace=outer_pace(gate=GATE),
        model=(ModelFile(name="config.json", blob=ref(b"{}")),),
        trusted=(NODE,),
    ),
    "run.opened (door)": RunOpened(
        **_by(OPERATOR, 17),
        run="run",
        recipe=ref(b"recipe"),
        terms=DOOR_TERMS,
        pace=door_pace(),
        model=(ModelFile(name="config.json", blob=ref(b"{}")),),
        trusted=(NODE,),
    ),
    "door.asked": DoorAsked(
        **_by(DOOR.did, 1),
        **_ASKED,
        number=7,
        question=AdaptQuestion(after=6, operations=ref(b"operations")),
    ),
    "door.asked (begins)": DoorAsked(
        **_by(DOOR.did, 2),
        **_ASKED,
        number=8,
        question=AdaptQuestion(begins=Begun(form=FORM, seed=7), operations=ref(b"operations")),
    ),
    "door.asked (again)": DoorAsked(
        **_by(DOOR.did, 3), **_ASKED, number=9, question=AdaptQuestion(again=7)
    ),
    "door.asked (sample)": DoorAsked(
        **_by(DOOR.did, 4),
        **_ASKED,
        number=10,
        question=SampleQuestion(adapter=ref(b"adapter"), questions=ref(b"prompts")),
    ),
    "door.withdrawn": DoorWithdrawn(**_by(DOOR.did, 5), run="run", numbers=(7, 8)),
    "run.stopped": RunStopped(**_by(OPERATOR, 2), run="run", reason="it learned é"),
    "run.retried": RunRetried(**_by(OPERATOR, 3), run="run"),
    "run.paused": RunPaused(**_by(OPERATOR, 4), run="run", reason="until Monday é"),
    "run.resumed": RunResumed(**_by(OPERATOR, 5), run="run"),
    "node.joined": NodeJoined(**_by(NODE, 1), capabilities=CAPABILITIES),
    "node.joined (newcomer)": NodeJoined(
        **_by(NODE, 1),
        capabilities=CAPABILITIES,
        delegation=delegation(identity("operator"), NODE, until_ms=9, lab=LAB),
        invitation=invitation(identity("lab"), LAB, 1_800_000_000_000),
        effort=Effort(size=12, root=ref(b"tree").digest, nonce="0" * 16),
    ),
    "joining.ruled": JoiningRuled(
        **_by(OPERATOR, 6), policy="invited", allowed=(NODE,), effort_bits=18, places=8
    ),
    "key.revoked": KeyRevoked(**_by(OPERATOR, 7), node=NODE, reason="stolen é"),
    "compute.pledged": ComputePledged(
        **_by(OPERATOR, 8), name="0123456789abcdef", share=250_000, until_ms=2_000_000_000_000
    ),
    "compute.pledged (purpose)": ComputePledged(
        **_by(OPERATOR, 8),
        name="0123456789abcdef",
        purpose="medicine",
        hours=10,
        until_ms=2_000_000_000_000,
    ),
    "compute.withdrawn": ComputeWithdrawn(**_by(OPERATOR, 9), name="0123456789abcdef"),
    "node.paused": NodePaused(**_by(OPERATOR, 8), node=NODE, reason="until Monday é"),
    "node.resumed": NodeResumed(**_by(OPERATOR, 9), node=NODE),
    "successors.named": SuccessorsNamed(
        **_by(OPERATOR, 10),
        successors=(Successor(did=NODE, address="https://next.example:8440"), Successor(did=LAB)),
        ask=("https://another.example",),
    ),
    "lab.succeeded": taken_over(NEXT_LAB, 1, 12, (OPERATOR,), "it burned down é", 1),
    "node.left": NodeLeft(**_by(NODE, 9)),
    "nodes.forgotten": NodesForgotten(**_by(LAB, 7), nodes=(NODE,)),
    "nodes.forgotten (kept)": NodesForgotten(**_by(LAB, 7), nodes=(NODE,), revocations="kept"),
    "lease.requested": LeaseRequested(**_by(NODE, 2), kinds=("rollout",), holding=("run.1",)),
    "lease.requested (runs)": LeaseRequested(
        **_by(NODE, 2), kinds=("rollout",), holding=(), runs=("run",)
    ),
    **{f"lease.granted ({kind})": _granted(spec) for kind, spec in SPECS.items()},
    "lease.returned": LeaseReturned(**_by(NODE, 3), work="run.1", reason="stopping"),
    "lease.returned (failed)": LeaseReturned(
        **_by(NODE, 3), work="run.1", reason="no room for the prompt", fault="work"
    ),
    "lease.expired": LeaseExpired(**_by(LAB, 6), work="run.1", cause="deadline"),
    "blob.offered": BlobOffered(**_by(NODE, 4), blob=ref(b"bytes"), work=None),
    **{
        f"work.answered ({kind})": WorkAnswered(**_by(NODE, 5), work="run.1", answer=answer)
        for kind, answer in ANSWERS.items()
    },
    "run.seeded": RunSeeded(**_by(LAB, 10), run="run", size=12, root=ref(b"tree").digest),
    "audits.drawn": AuditsDrawn(**_by(LAB, 9), size=12, root=ref(b"tree").digest),
    "verdict.contested": VerdictContested(
        **_by(NODE, 6), run="run", work="run.7", reason="my memory is fine é"
    ),
    "plants.committed": PlantsCommitted(**_by(OPERATOR, 6), run="run", digest=ref(b"plant").digest),
    "plants.revealed": PlantsRevealed(**_by(NODE, 7), run="run", secret="5a" * 32, share_milli=200),
    "stake.put": StakePut(**_by(NODE, 8), micro=20_000),
    "stake.given": StakeGiven(**_by(OPERATOR, 7), node=NODE, micro=20_000),
    "stake.returned": StakeReturned(**_by(NODE, 10)),
    "lease.granted (by award)": _granted(SPECS["rollout"]).model_copy(
        update={"per_million_micro": 300_000}
    ),
    "market.opened": MarketOpened(
        **_by(LAB, 11),
        **_ROUND,
        market=BID.market,
        lots=4,
        commit_until_ms=1_800_000_010_000,
        reveal_until_ms=1_800_000_020_000,
    ),
    "bid.committed": BidCommitted(**_by(NODE, 11), **_ROUND, seal=seal_of(BID, NONCE)),
    "bid.revealed": BidRevealed(**_by(NODE, 12), **_ROUND, bid=BID, nonce=NONCE),
    "bid.withdrawn": BidWithdrawn(**_by(OPERATOR, 8), **_ROUND, node=NODE),
    "market.cleared": MarketCleared(
        **_by(LAB, 12),
        **_ROUND,
        price_micro=350_000,
        bought=3,
        short=1,
        awards=ref(b"awards").digest,
        seed_size=13,
        seed_root=ref(b"tree").digest,
    ),
    "market.cleared (void)": MarketCleared(
        **_by(LAB, 13), **_ROUND, price_micro=0, bought=0, short=4, awards=ref(b"[]").digest
    ),
    "credits.settled": CreditsSettled(
        **_by(OPERATOR, 8),
        account=NODE,
        direction="in",
        micro=5_000_000,
        reference="invoice 7/2026",
    ),
    "credits.settled (in dollars)": CreditsSettled(
        **_by(OPERATOR, 9), account=NODE, direction="out", micro=1, reference="t", usd_micro=20_000
    ),
    "run.funded": RunFunded(**_by(OPERATOR, 10), run="run", micro=5_000_000),
    "pool.funded": PoolFunded(**_by(NODE, 21), source="wallet", micro=5_000_000),
    "pool.pledged": PoolPledged(**_by(NODE, 22), parts=50_000),
    "pool.ruled": PoolRuled(**_by(OPERATOR, 21), **RULE),
    "grant.given": GrantGiven(
        **_by(OPERATOR, 22), to=NODE, micro=5_000, until_ms=1_800_000_000_000, reason="a class"
    ),
    "grant.requested": GrantRequested(
        **_by(NODE, 23), attestation=attested(LAB, NODE, "ada@example.org", 1_800_000_000_000)
    ),
    "grant.charged": GrantCharged(
        **_by(DOOR.did, 1),
        permit=permitted(LAB, identity("node"), 1_800_000_000_000),
        micro=300,
        num_tokens=1_000_000,
        since_ms=1_799_000_000_000,
        until_ms=1_799_003_600_000,
    ),
    "grant.ended": GrantEnded(**_by(NODE, 24), grantee=NODE, reason="enough"),
    "share.transferred": ShareTransferred(**_by(NODE, 13), run="run", to=OPERATOR, units=5_000_000),
    "vote.delegated": VoteDelegated(**_by(NODE, 14), run="run", to=OPERATOR),
    "vote.delegated (to nobody)": VoteDelegated(**_by(NODE, 15), run="run"),
    "proposal.opened": ProposalOpened(
        **_by(NODE, 16), run="run", about="licence", text="Free for all", licence="Apache-2.0"
    ),
    "proposal.opened (spending)": ProposalOpened(
        **_by(NODE, 17),
        run="run",
        about="spending",
        text="Pay for the mirror",
        spending=Spending(to=OPERATOR, micro=5_000_000),
    ),
    "ballot.cast": BallotCast(**_by(OPERATOR, 11), run="run", proposal=12, says="yes"),
    "treasury.given": TreasuryGiven(**_by(OPERATOR, 12), run="run", micro=5_000_000),
    "meter.named": MeterNamed(**_by(OPERATOR, 13), run="run", meter=METER.did, weights=POLICY),
    "revenue.entered": RevenueEntered(
        **_by(OPERATOR, 14),
        run="run",
        first=1,
        receipt=Book(POLICY).due(2_000_000).signed,
        micro=1_500_000,
    ),
    "contribution.withdrawn": ContributionWithdrawn(
        **_by(OPERATOR, 15), run="run", data=ref(b"data").digest, reason="its author asks for it"
    ),
    "contribution.withdrawn (a party's)": ContributionWithdrawn(
        **_by(NODE, 18), run="run", party=NODE, reason=""
    ),
    "contribution.withdrawn (a key's)": ContributionWithdrawn(
        **_by(OPERATOR, 16), run="run", key=NODE, reason="it was stolen"
    ),
    "snapshot.taken": SnapshotTaken(**_by(LAB, 8), format=1, size=12, state=ref(b"state")),
}

_RUN = "r" * 63
_WORK = f"{_RUN}.{'9' * 12}"
_BLOB = BlobRef(digest="sha256:" + "f" * 64, size=bounds.MAX_BLOB_BYTES)
_METRICS = {f"m{'x' * 43}{n:04d}": -bounds.MAX_SEQ for n in range(bounds.MAX_METRICS)}
_TEXT = "\U0001f600" * bounds.MAX_REASON_CHARACTERS
_GROUPS = tuple(2**40 - n for n in range(bounds.MAX_GROUPS_PER_WORK))
_MOST = {"lab": LAB, "author": NODE, "seq": bounds.MAX_SEQ}
_NAMED = sorted(identity(f"contributor {n}").did for n in range(MAX_CONTRIBUTORS))
CHARTER = CharterTerms(
    providers=MILLION // 4,
    sponsors=MILLION // 4,
    data=MILLION // 4,
    treasury=MILLION // 4,
    ballots="operators",
    quorum=MILLION,
    majority=MILLION,
    voting_ms=7_776_000_000,
    least=MILLION,
    contributors=tuple(Contributor(did=did, weight=MAX_WEIGHT) for did in _NAMED),
    successors=tuple(
        Successor(did=did, address="https://" + "&" * 240) for did in _NAMED[:MAX_SUCCESSORS]
    ),
)

_BID = Bid(
    bidder=NODE,
    market=Market(kind="k" * 32, capability="c" * 32, unit="training_token"),
    price_micro=bounds.MAX_PRICE_MICRO,
    lots=4096,
    region="r" * 32,
    valid_from_ms=bounds.MAX_SEQ,
    valid_until_ms=bounds.MAX_SEQ,
)

LARGE: tuple[Statement, ...] = (
    LabOpened(**_MOST, operators=(NODE,) * bounds.MAX_TRUSTED_KEYS),
    RunOpened(
        **_MOST,
        run=_RUN,
        recipe=_BLOB,
        terms=Terms(**TERMS),
        pace=RlPace(
            **(PACE | {"stop_tokens": (2**31 - 1,) * bounds.MAX_STOP_TOKENS, "charter": CHARTER})
        ),
        model=(ModelFile(name="n" * 128, blob=_BLOB),) * bounds.MAX_MODEL_FILES,
        trusted=(NODE,) * bounds.MAX_TRUSTED_KEYS,
    ),
    RunOpened(
        **_MOST,
        run=_RUN,
        recipe=_BLOB,
        terms=Terms(**TERMS),
        pace=outer_pace(
            corpus=CorpusPace(
                manifest=_BLOB,
                shards=(_BLOB,) * MAX_SHARDS,
                sequence_length=4_194_304,
                batch=65_536,
                epochs=10_000,
            ),
            charter=CHARTER,
            gate=GATE,
        ),
        model=(ModelFile(name="n" * 64, blob=_BLOB),) * 32,
        trusted=(NODE,) * bounds.MAX_TRUSTED_KEYS,
    ),
    LeaseGranted(
        **_MOST,
        work=_WORK,
        node=NODE,
        request_seq=bounds.MAX_SEQ,
        deadline_ms=bounds.MAX_SEQ,
        price_micro=bounds.MAX_SEQ,
        spec=InnerStepSpec(
            run=_RUN,
            version=1_000_000,
            policy=POLICY,
            index=127,
            steps=100_000,
            first_step=bounds.MAX_SEQ,
            corpus=_BLOB,
        ),
    ),
    RunStopped(**_MOST, run=_RUN, reason=_TEXT),
    NodeJoined(
        **_MOST,
        capabilities=Capabilities(
            kinds=("k" * 32,) * bounds.MAX_KINDS,
            engine="é" * 64,
            device="é" * 64,
            software="é" * 64,
            speed_milli=bounds.MAX_SEQ,
            batch_invariant=False,
            protections=("é" * 32,) * 16,
        ),
    ),
    LeaseRequested(
        **_MOST,
        kinds=("k" * 32,) * bounds.MAX_KINDS,
        holding=(_WORK,) * bounds.MAX_LEASES_PER_NODE,
        runs=(_RUN,) * 64,
    ),
    LeaseGranted(
        **_MOST,
        work=_WORK,
        node=NODE,
        request_seq=bounds.MAX_SEQ,
        deadline_ms=bounds.MAX_SEQ,
        price_micro=bounds.MAX_SEQ,
        spec=RolloutSpec(
            run=_RUN,
            version=1_000_000,
            policy=POLICY,
            groups=_GROUPS,
            # One lease reaches over the batches of the staleness bound (64) and the next.
            prompts=(_BLOB,) * 65,
        ),
    ),
    LeaseGranted(
        **_MOST,
        work=_WORK,
        node=NODE,
        request_seq=bounds.MAX_SEQ,
        deadline_ms=bounds.MAX_SEQ,
        price_micro=bounds.MAX_SEQ,
        spec=AuditSpec(
            run=_RUN,
            work=_WORK,
            record=POLICY,
            inputs=POLICY,
            version=1_000_000,
            policy=POLICY,
            blobs=(_BLOB,) * bounds.MAX_PROMPT_BATCHES,
            part=Part(root=POLICY, milli=1000),
        ),
    ),
    NodeJoined(
        **_MOST,
        capabilities=CAPABILITIES,
        delegation=delegation(
            identity("operator"),
            NODE,
            bounds.MAX_SEQ,
            until_ms=bounds.MAX_SEQ,
            lab=LAB,
            replaces=LAB,
        ),
        invitation=invitation(identity("lab"), LAB, bounds.MAX_SEQ, uses=MAX_USES),
        effort=Effort(size=bounds.MAX_SEQ, root=POLICY, nonce="f" * 16),
    ),
    JoiningRuled(
        **_MOST, policy="invited", allowed=(NODE,) * MAX_ALLOWED, effort_bits=28, places=1024
    ),
    KeyRevoked(**_MOST, node=NODE, reason=_TEXT),
    SuccessorsNamed(
        **_MOST,
        successors=tuple(
            Successor(did=identity(f"successor {n}").did, address="https://" + "&" * 240)
            for n in range(MAX_SUCCESSORS)
        ),
        ask=tuple(f"https://{n:&>240}" for n in range(MAX_ASKED)),
    ),
    taken_over(
        identity("node"),
        bounds.MAX_SEQ,
        2**40,
        (NODE,) * bounds.MAX_TRUSTED_KEYS,
        _TEXT,
        MAX_AGREEMENTS,
    ),
    NodePaused(**_MOST, node=NODE, reason=_TEXT),
    ComputePledged(
        **_MOST,
        name=16 * "f",
        purpose=32 * "z",
        hours=MAX_HOURS_A_WEEK,
        until_ms=2**53 - 1,
    ),
    ComputeWithdrawn(**_MOST, name=16 * "f"),
    NodeResumed(**_MOST, node=NODE),
    RunSeeded(**_MOST, run=_RUN, size=bounds.MAX_SEQ, root=POLICY),
    AuditsDrawn(**_MOST, size=bounds.MAX_SEQ, root=POLICY),
    VerdictContested(**_MOST, run=_RUN, work=_WORK, reason=_TEXT),
    PlantsCommitted(**_MOST, run=_RUN, digest=POLICY),
    PlantsRevealed(**_MOST, run=_RUN, secret="f" * 64, share_milli=1000),
    StakePut(**_MOST, micro=MAX_MOVED_MICRO),
    StakeGiven(**_MOST, node=NODE, micro=MAX_MOVED_MICRO),
    StakeReturned(**_MOST),
    MarketOpened(
        **_MOST,
        run=_RUN,
        number=2**40,
        market=_BID.market,
        lots=65_536,
        commit_until_ms=bounds.MAX_SEQ,
        reveal_until_ms=bounds.MAX_SEQ,
    ),
    BidCommitted(**_MOST, run=_RUN, number=2**40, seal=POLICY),
    BidRevealed(**_MOST, run=_RUN, number=2**40, bid=_BID, nonce="f" * 64),
    BidWithdrawn(**_MOST, run=_RUN, number=2**40, node=NODE),
    MarketCleared(
        **_MOST,
        run=_RUN,
        number=2**40,
        price_micro=bounds.MAX_PRICE_MICRO,
        bought=65_536,
        short=65_536,
        awards=POLICY,
        seed_size=bounds.MAX_SEQ,
        seed_root=POLICY,
    ),
    CreditsSettled(
        **_MOST,
        account=NODE,
        direction="out",
        micro=MAX_MOVED_MICRO,
        reference="r" * 100,
        usd_micro=MAX_MOVED_MICRO,
    ),
    RunFunded(**_MOST, run=_RUN, micro=MAX_MOVED_MICRO),
    PoolFunded(**_MOST, source="treasury", micro=MAX_MOVED_MICRO),
    PoolPledged(**_MOST, parts=MILLION),
    PoolRuled(
        **_MOST,
        verifiers=tuple(identity(f"verifier {n}").did for n in range(MAX_VERIFIERS)),
        doors=tuple(identity(f"door {n}").did for n in range(MAX_GRANT_DOORS)),
        person_micro=MAX_MOVED_MICRO,
        grant_micro=MAX_MOVED_MICRO,
        verifier_micro=MAX_MOVED_MICRO,
        month_micro=MAX_MOVED_MICRO,
        lasts_ms=MAX_GRANT_MS,
    ),
    GrantGiven(**_MOST, to=OPERATOR, micro=MAX_MOVED_MICRO, until_ms=bounds.MAX_SEQ, reason=_TEXT),
    GrantRequested(**_MOST, attestation=attested(LAB, NODE, "a", 2**51)),
    GrantCharged(
        **_MOST,
        permit=permitted(LAB, identity("node"), bounds.MAX_SEQ, micro=MAX_MOVED_MICRO),
        micro=MAX_MOVED_MICRO,
        num_tokens=bounds.MAX_SEQ,
        since_ms=bounds.MAX_SEQ - 1,
        until_ms=bounds.MAX_SEQ,
    ),
    GrantEnded(**_MOST, grantee=OPERATOR, reason=_TEXT),
    ShareTransferred(**_MOST, run=_RUN, to=OPERATOR, units=UNITS),
    VoteDelegated(**_MOST, run=_RUN, to=OPERATOR),
    ProposalOpened(
        **_MOST,
        run=_RUN,
        about="licence",
        text="\U0001f600" * MAX_PROPOSAL_CHARACTERS,
        licence="L" * 256,
    ),
    BallotCast(**_MOST, run=_RUN, proposal=bounds.MAX_SEQ, says="abstain"),
    TreasuryGiven(**_MOST, run=_RUN, micro=MAX_MOVED_MICRO),
    MeterNamed(**_MOST, run=_RUN, meter=NODE, weights=_BLOB.digest),
    RevenueEntered(
        **_MOST,
        run=_RUN,
        first=bounds.MAX_SEQ,
        receipt=Book(_BLOB.digest).due(10**15).signed,
        micro=MAX_MOVED_MICRO,
    ),
    ContributionWithdrawn(**_MOST, run=_RUN, party=OPERATOR, reason=_TEXT),
    RunRetried(**_MOST, run=_RUN),
    DoorAsked(
        **_MOST,
        run=_RUN,
        number=MAX_QUESTION_NUMBER,
        tenant=POLICY,
        share=MAX_SHARE,
        num_tokens=MAX_QUESTION_TOKENS,
        lasts_ms=bounds.MAX_WAIT_MS,
        question=AdaptQuestion(
            begins=Begun(
                form=AdapterForm(
                    rank=1024, alpha_micro=10**12, targets=TARGETS, rank_stabilised=False
                ),
                seed=bounds.MAX_SEQ,
            ),
            operations=_BLOB,
        ),
    ),
    DoorWithdrawn(**_MOST, run=_RUN, numbers=(MAX_QUESTION_NUMBER,) * MAX_WITHDRAWN_AT_ONCE),
    RunPaused(**_MOST, run=_RUN, reason=_TEXT),
    RunResumed(**_MOST, run=_RUN),
    LeaseReturned(**_MOST, work=_WORK, reason=_TEXT, fault="machine"),
    BlobOffered(**_MOST, blob=_BLOB, work=_WORK),
    NodesForgotten(**_MOST, nodes=(NODE,) * bounds.MAX_FORGOTTEN),
    SnapshotTaken(**_MOST, format=bounds.MAX_SEQ, size=bounds.MAX_SEQ, state=_BLOB),
    *(
        WorkAnswered(**_MOST, work=_WORK, answer=answer)
        for answer in (
            RolloutAnswer(
                policy=POLICY, result=_BLOB, num_tokens=bounds.MAX_SEQ, busy_ms=bounds.MAX_SEQ
            ),
            UpdateAnswer(
                version=1_000_000,
                parent=POLICY,
                policy=POLICY,
                manifest=_BLOB,
                anchor=_BLOB,
                delta=_BLOB,
                memory=_BLOB,
                prompts=(PromptBatch(batch=bounds.MAX_SEQ, blob=_BLOB),)
                * bounds.MAX_PROMPT_BATCHES,
                metrics=_METRICS,
            ),
            EvaluateAnswer(version=1_000_000, policy=POLICY, report=_BLOB, metrics=_METRICS),
            AdaptAnswer(
                state=_BLOB,
                outcomes=_BLOB,
                num_tokens=MAX_QUESTION_TOKENS,
                busy_ms=bounds.MAX_SEQ,
                machine="é" * 128,
            ),
            SampleAnswer(
                policy=POLICY, result=_BLOB, num_tokens=bounds.MAX_SEQ, busy_ms=bounds.MAX_SEQ
            ),
            InnerStepAnswer(
                policy=POLICY,
                steps=100_000,
                num_tokens=bounds.MAX_SEQ,
                payload=_BLOB,
                commitments=(POLICY,) * MAX_COMMITMENTS,
                metrics=_METRICS,
                busy_ms=bounds.MAX_SEQ,
                machine="é" * 128,
            ),
            MergeAnswer(
                version=1_000_000,
                parent=POLICY,
                policy=POLICY,
                manifest=_BLOB,
                anchor=_BLOB,
                delta=_BLOB,
                memory=_BLOB,
                verdicts=(
                    Verdict(work=_WORK, weight_micro=0, reason="own_data", score=-bounds.MAX_SEQ),
                )
                * MAX_CONTRIBUTIONS,
                metrics=_METRICS,
                gate=_BLOB,
                next_gate=POLICY,
                void=True,
            ),
            AuditAnswer(
                record=POLICY,
                says="differs",
                difference=Difference(
                    group=2**40,
                    rollout=2**32 - 1,
                    position=2**31 - 1,
                    what="log-probability",
                    recorded="~" * 64,
                    recomputed="~" * 64,
                ),
                positions=bounds.MAX_SEQ,
                busy_ms=bounds.MAX_SEQ,
            ),
        )
    ),
)

KINDS = {each.model_fields["kind"].default for each in get_args(AnyStatement)}
assert SPECS.keys() == ANSWERS.keys() == WORDS_OF.keys(), "every kind of work has an example"
