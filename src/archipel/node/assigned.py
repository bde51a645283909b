"""Which shard of its run's text a work needs: what no record names, because it follows from seed, version and index.

Law: integers only, from a manifest whose digest the run's opening names; a work needs one shard, and no other is fetched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from archipel.node.failures import WorkFailure
from archipel.records.corpus import BadCorpus, CorpusManifest
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds import Spec
from archipel.records.kinds.audit import AuditSpec
from archipel.records.kinds.inner_step import InnerStepSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.terms import RunPace
from archipel.training.corpus.assignment import BlockTerms, assignment


def assigned_shards(
    spec: Spec, pace: RunPace, blobs: Mapping[str, Path], inputs: Sequence[AcceptedWork] = ()
) -> tuple[BlobRef, ...]:
    """Blobs that the work needs besides; none of a work that is not assigned any text.

    inputs: what an audit looks at: it needs the text of that.
    blobs: digest -> file of those that the work names, the manifest among them.

    Raises:
        WorkFailure: the run's text is none, or is used up.
        OSError: this machine's disk.
    """
    if isinstance(spec, AuditSpec) and len(inputs) == 1:
        spec = inputs[0].spec
    if not isinstance(spec, InnerStepSpec) or not isinstance(pace, PretrainPace):
        return ()
    corpus = pace.corpus
    terms = BlockTerms(
        sequence_length=corpus.sequence_length,
        steps=pace.steps,
        batch=corpus.batch,
        members=pace.members,
        epochs=corpus.epochs,
    )
    try:
        manifest = CorpusManifest.from_bytes(blobs[corpus.manifest.digest].read_bytes())
        taken = assignment(manifest.shards, terms, pace.seed, spec.version, spec.index)
    except (BadCorpus, KeyError, ValueError) as error:
        raise WorkFailure(f"the text of {spec.run}: {error}") from None
    said = manifest.shards[taken.shard]
    shard = BlobRef(digest=said.digest, size=said.size)
    if shard not in corpus.shards:
        raise WorkFailure(
            f"the text of {spec.run}: shard {taken.shard}, {said.digest}, is not among those that its opening names"
        )
    return (shard,)
