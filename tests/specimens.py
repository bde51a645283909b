"""One statement of every kind, and the largest that its bounds allow."""

from typing import Any, get_args

from archipel.records import fields as bounds
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    AnyStatement,
    BlobOffered,
    Capabilities,
    EvaluateSpec,
    EvaluationSubmitted,
    LabOpened,
    LeaseExpired,
    LeaseGranted,
    LeaseRequested,
    LeaseReturned,
    ModelFile,
    NodeJoined,
    NodeLeft,
    Pace,
    PromptBatch,
    RolloutSpec,
    RolloutSubmitted,
    RunOpened,
    RunStopped,
    Statement,
    UpdateSpec,
    VersionPublished,
)
from people import identity, ref
from world import PACE

LAB, NODE, OPERATOR = (identity(name).did for name in ("lab", "node", "operator"))
POLICY = ref(b"weights").digest

SPECS = (
    RolloutSpec(run="run", version=3, policy=POLICY, groups=(8, 9), prompts=(ref(b"prompts"),)),
    UpdateSpec(run="run", version=4, parent=POLICY),
    EvaluateSpec(run="run", version=4, policy=POLICY),
)


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
        pace=Pace(**PACE),
        model=(ModelFile(name="config.json", blob=ref(b"{}")),),
        trusted=(NODE,),
    ),
    "run.stopped": RunStopped(**_by(OPERATOR, 2), run="run", reason="it learned é"),
    "node.joined": NodeJoined(**_by(NODE, 1), capabilities=CAPABILITIES),
    "node.left": NodeLeft(**_by(NODE, 9)),
    "lease.requested": LeaseRequested(**_by(NODE, 2), kinds=("rollout",), holding=("run.1",)),
    "lease.granted": _granted(SPECS[0]),
    "lease.granted (update)": _granted(SPECS[1]),
    "lease.granted (evaluate)": _granted(SPECS[2]),
    "lease.returned": LeaseReturned(**_by(NODE, 3), work="run.1", reason="stopping"),
    "lease.expired": LeaseExpired(**_by(LAB, 6), work="run.1", cause="deadline"),
    "blob.offered": BlobOffered(**_by(NODE, 4), blob=ref(b"bytes"), work=None),
    "rollout.submitted": RolloutSubmitted(
        **_by(NODE, 5), work="run.1", policy=POLICY, result=ref(b"r"), num_tokens=20, busy_ms=7
    ),
    "version.published": VersionPublished(
        **_by(NODE, 6),
        work="run.2",
        version=4,
        parent=None,
        policy=POLICY,
        manifest=ref(b"manifest"),
        anchor=None,
        delta=ref(b"delta"),
        prompts=(PromptBatch(batch=5, blob=ref(b"prompts")),),
        metrics={"reward_micro": -5, "loss_micro": 12},
    ),
    "evaluation.submitted": EvaluationSubmitted(
        **_by(NODE, 7),
        work="run.3",
        version=4,
        policy=POLICY,
        report=ref(b"report"),
        metrics={"greedy_micro": 990_000},
    ),
}

_RUN = "r" * 63
_WORK = f"{_RUN}.{'9' * 12}"
_BLOB = BlobRef(digest="sha256:" + "f" * 64, size=bounds.MAX_BLOB_BYTES)
_METRICS = {f"m{'x' * 43}{n:04d}": -bounds.MAX_SEQ for n in range(bounds.MAX_METRICS)}
_TEXT = "\U0001f600" * bounds.MAX_REASON_CHARACTERS
_GROUPS = tuple(2**40 - n for n in range(bounds.MAX_GROUPS_PER_WORK))
_MOST = {"lab": LAB, "author": NODE, "seq": bounds.MAX_SEQ}

LARGE: tuple[Statement, ...] = (
    LabOpened(**_MOST, operators=(NODE,) * bounds.MAX_TRUSTED_KEYS),
    RunOpened(
        **_MOST,
        run=_RUN,
        recipe=_BLOB,
        pace=Pace(**(PACE | {"stop_tokens": (2**31 - 1,) * bounds.MAX_STOP_TOKENS})),
        model=(ModelFile(name="n" * 128, blob=_BLOB),) * bounds.MAX_MODEL_FILES,
        trusted=(NODE,) * bounds.MAX_TRUSTED_KEYS,
    ),
    RunStopped(**_MOST, run=_RUN, reason=_TEXT),
    NodeJoined(
        **_MOST,
        capabilities=Capabilities(
            kinds=("evaluate",) * 8,
            engine="é" * 64,
            device="é" * 64,
            software="é" * 64,
            speed_milli=bounds.MAX_SEQ,
            batch_invariant=False,
            protections=("é" * 32,) * 16,
        ),
    ),
    LeaseRequested(**_MOST, kinds=("evaluate",) * 8, holding=(_WORK,) * bounds.MAX_LEASES_PER_NODE),
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
    LeaseReturned(**_MOST, work=_WORK, reason=_TEXT),
    BlobOffered(**_MOST, blob=_BLOB, work=_WORK),
    RolloutSubmitted(
        **_MOST,
        work=_WORK,
        policy=POLICY,
        result=_BLOB,
        num_tokens=bounds.MAX_SEQ,
        busy_ms=bounds.MAX_SEQ,
    ),
    VersionPublished(
        **_MOST,
        work=_WORK,
        version=1_000_000,
        parent=POLICY,
        policy=POLICY,
        manifest=_BLOB,
        anchor=_BLOB,
        delta=_BLOB,
        prompts=(PromptBatch(batch=bounds.MAX_SEQ, blob=_BLOB),) * bounds.MAX_PROMPT_BATCHES,
        metrics=_METRICS,
    ),
    EvaluationSubmitted(
        **_MOST, work=_WORK, version=1_000_000, policy=POLICY, report=_BLOB, metrics=_METRICS
    ),
)

KINDS = {each.model_fields["kind"].default for each in get_args(get_args(AnyStatement)[0])}
