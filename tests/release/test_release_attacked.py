"""Whoever signs a release anew with words that the ledger has not: named, or said to be his own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archipel.lab.state import Phase
from archipel.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
)
from archipel.ledger.mirror import Mirror
from archipel.ledger.proof_file import proof_text
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.changed import changed
from archipel.release.contents import Contents
from archipel.release.gathering import CannotRelease
from archipel.release.index import read_index
from archipel.release.oms.folder import bundle_over, file_sha256
from archipel.release.oms.statement import signed_files
from archipel.release.oms.voucher import vouch
from archipel.release.papers.slsa import attested
from archipel.release.verify.claims import look_at_claims
from archipel.release.verify.looking import verify
from archipel.release.verify.report import Expected
from people import identity
from releases import LIAR, faults, heard, looked_at, quick, signed_again, with_index


def _recipe(bundle: Path) -> str:
    path = bundle / "recipe.toml"
    path.write_text(path.read_text().replace("versions = 4", "versions = 5"))
    return "recipe.toml is the recipe"


def _rollouts(bundle: Path) -> str:
    path = bundle / "data" / "rollouts.json"
    path.write_bytes(path.read_bytes().replace(b'"groups":[', b'"groups":[7,', 1))
    return "data/rollouts.json is not what the ledger says"


def _results(bundle: Path) -> str:
    path = bundle / "papers" / "evaluation-results.json"
    fields = json.loads(path.read_bytes())
    fields["evaluations"][0]["metrics"] = {"score": 1.0}
    path.write_text(json.dumps(fields))
    return "papers/evaluation-results.json is not what the ledger says"


def _statement(bundle: Path) -> str:
    path = bundle / "provenance" / "start.json"
    fields = json.loads(path.read_bytes())
    fields["predicate"]["runDetails"]["builder"]["id"] = identity("stranger").did
    path.write_text(json.dumps(fields))
    return "provenance/start.json is not what the ledger and"


def _statement_more(bundle: Path) -> str:
    shutil.copyfile(bundle / "provenance" / "start.json", bundle / "provenance" / "more.json")
    return "provenance/more.json is of no stage"


def _statement_less(bundle: Path) -> str:
    (bundle / "provenance" / "start.json").unlink()
    return "provenance/start.json is missing: a stage"


def _no_statement(bundle: Path) -> str:
    (bundle / "provenance" / "start.json").write_text("[" * 100_000)
    return "provenance/start.json: "


def _envelope(bundle: Path) -> str:
    data = (bundle / "provenance" / "start.json").read_bytes()
    word = attested(data, identity("stranger"))
    (bundle / "provenance" / "start.dsse.json").write_bytes(word)
    return "answers for it, who is no operator of this lab"


def _voucher(bundle: Path) -> str:
    index = (bundle / "release.json").read_bytes()
    word = vouch(identity("stranger"), index, LIAR.public.hint)
    (bundle / "release.voucher").write_bytes(word)
    return "who is no operator of this lab"


def _blob_size(bundle: Path) -> str:
    fields = json.loads((bundle / "release.json").read_bytes())
    fields["blobs"][3]["size"] += 1
    with_index(bundle, blobs=fields["blobs"])
    return f"{fields['blobs'][3]['digest'][7:]} has"


def _blob_twice(bundle: Path) -> str:
    blobs = json.loads((bundle / "release.json").read_bytes())["blobs"]
    with_index(bundle, blobs=[blobs[0], *blobs])
    return "names a blob twice"


def _other_history(bundle: Path) -> str:
    """The lab signs a second tree of as many entries, in which this one stands, too."""
    lab = identity("lab")
    entries = list(Mirror(bundle / "ledger", lab_key(lab.did)).entries())
    path = next((bundle / "ledger" / "proofs").glob("*.tlog-proof"))
    at = int(path.name.partition(".")[0])
    entries[at - 1 if at else 1] += b" "
    leaves = [leaf_hash(each) for each in entries]
    root = Frontier().extended(leaves).root()

    proof = inclusion_proof(at, len(leaves), nodes_from_leaves(leaves))
    note = sign_tree_head(lab, lab_key(lab.did).name, len(leaves), root).note
    path.write_bytes(proof_text(at, proof, note))
    return "signed another history of as many entries"


@pytest.mark.parametrize(
    "lie",
    [
        _recipe,
        _rollouts,
        _results,
        _statement,
        _statement_more,
        _statement_less,
        _no_statement,
        _envelope,
        _voucher,
        _blob_size,
        _blob_twice,
        _other_history,
    ],
)
def test_what_follows_from_the_ledger_is_compared_with_it(
    bundle: Path, lie: Callable[[Path], str]
) -> None:
    expected = lie(bundle)
    assert expected in faults(bundle)


def test_an_operator_answers_for_a_release_and_its_stages(bundle: Path) -> None:
    boss, index = identity("operator"), (bundle / "release.json").read_bytes()
    (bundle / "release.voucher").write_bytes(vouch(boss, index, LIAR.public.hint))
    for path in list((bundle / "provenance").glob("*.json")):
        path.with_suffix(".dsse.json").write_bytes(attested(path.read_bytes(), boss))
    assert faults(bundle) == ""


def test_an_empty_ledger_of_the_lab_shows_no_run(bundle: Path) -> None:
    lab = identity("lab")
    head = sign_tree_head(lab, lab_key(lab.did).name, 0, EMPTY_ROOT)
    shutil.rmtree(bundle / "ledger")
    (bundle / "ledger").mkdir()
    (bundle / "ledger" / "checkpoint").write_bytes(head.note)
    with_index(bundle, tree_size=0, tree_root=f"sha256:{EMPTY_ROOT.hex()}")
    assert "this ledger opens no run 'tiny'" in faults(bundle)


def test_a_run_that_the_ledger_does_not_know_is_told_so(bundle: Path) -> None:
    with_index(bundle, run="another")
    assert "this ledger opens no run 'another'" in faults(bundle)


def test_who_names_a_lab_or_a_witness_is_not_told_that_a_release_without_a_ledger_holds(
    bundle: Path,
) -> None:
    index = read_index((bundle / "release.json").read_bytes())
    shutil.rmtree(bundle / "ledger")
    components = json.loads((bundle / "release.json").read_bytes())["components"]
    kept = [e for e in components if not any(p.startswith("ledger") for p in e["places"])]
    with_index(bundle, components=kept)
    signed_again(bundle)
    assert looked_at(bundle).holds
    for expected in (Expected(lab=index.lab), Expected(witnesses=("w",))):
        assert any("no ledger lies here" in each for each in looked_at(bundle, expected).faults)


def test_what_is_written_while_it_is_looked_at_is_named(bundle: Path) -> None:
    data = (bundle / "config.json").read_bytes()

    def told(where: str) -> None:
        if where.startswith("entry 3 of"):
            (bundle / "config.json").write_bytes(data)
            (bundle / "data" / "new.json").write_bytes(b"{}")

    report = verify(bundle, Expected(), told)
    for name in ("config.json", "data/new.json"):
        assert any(
            fault.startswith(f"{name} was written while") for fault in report.steps[2].faults
        )


def test_a_file_of_holes_is_not_read_to_its_end(bundle: Path) -> None:
    with (bundle / "data" / "holes").open("wb") as file:
        file.truncate(2**40)
    (bundle / "release.pem").write_bytes(LIAR.public.pem)
    (bundle / "release.sig").unlink()
    names = [p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()]
    digests = {n: "0" * 64 if "holes" in n else file_sha256(bundle / n)[0] for n in names}
    signed = signed_files("m", digests, ("release.sig",))
    (bundle / "release.sig").write_bytes(bundle_over(signed, LIAR))
    (fault,) = quick(bundle)
    assert fault.startswith(f"data/holes says {2**40} bytes and takes")


def test_of_a_run_that_goes_on_no_version_is_said_to_be_the_last(bundle: Path) -> None:
    looked = heard(bundle)
    assert looked.state is not None
    assert looked.heard is not None
    step = looked.step("again")
    look_at_claims(looked, looked.heard, step)
    assert step.unshown == []
    run = changed(looked.state.runs["tiny"], phase=Phase.RUNNING)
    looked.state = changed(looked.state, runs=looked.state.runs.put("tiny", run))
    look_at_claims(looked, looked.heard, step)
    (line,) = step.unshown
    assert line.startswith("that version 4 is the last: the run was running")


def test_two_files_never_want_one_place(tmp_path: Path) -> None:
    made, path = Contents(), tmp_path / "secret"
    path.write_bytes(b"same")
    made.put("environment/secret", path)
    made.put("environment/secret", b"same")
    with pytest.raises(CannotRelease, match="two files want the place environment/secret"):
        made.put("environment/secret", b"other")
