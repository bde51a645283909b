"""What no release is, and what a release that lies says: each is refused in its own sentence."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.identity import Identity
from archipel.release.index import MAX_INDEX_BYTES, plain_path, read_index
from archipel.release.oms.voucher import vouch
from archipel.release.verify import files as looking_at_files
from archipel.release.verify.report import Expected
from people import identity
from releases import LIAR, looked_at, made, quick, said, signed_again, with_index
from tiny import NAME


def test_what_is_no_release_is_told_so(site: Path, tmp_path: Path) -> None:
    assert "is no folder" in said("verify", str(tmp_path / "nowhere"), code=1)
    assert "holds no release.json" in said("verify", str(tmp_path), code=1)
    assert "holds no release.json" in said("verify", str(site / "lab"), code=1)
    (tmp_path / "link").symlink_to(site / "bundle")
    assert "is no folder" in said("verify", str(tmp_path / "link"), code=1)
    assert said("verify", str(site / "bundle")).endswith("everything that was looked at holds\n")


def test_a_link_a_pipe_and_a_strange_name_are_named(bundle: Path) -> None:
    (bundle / "out").symlink_to("/etc/passwd")
    (bundle / "folder").symlink_to(bundle / "code")
    os.mkfifo(bundle / "pipe")
    (bundle / "a b").write_bytes(b"x")
    (bundle / "config.json").unlink()
    (bundle / "config.json").symlink_to("tokenizer.json")
    faults = "\n".join(quick(bundle))
    for name in ("out", "folder", "config.json"):
        assert f"'{name}' is a symbolic link" in faults
    assert "'pipe' is a pipe, socket or device" in faults
    assert "'a b' is no plain relative path" in faults
    assert "config.json is missing" in faults


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../b", "a//b", "./a", "a/", "", "a\0b", "é", "x" * 600]
)
def test_no_path_leads_out_of_a_bundle(path: str, bundle: Path) -> None:
    with pytest.raises(ValueError, match=r"no plain relative path|leads out"):
        plain_path(path)
    components = json.loads((bundle / "release.json").read_bytes())["components"]
    components[0]["places"] = [path]
    with_index(bundle, components=components)
    signed_again(bundle)
    assert any(fault.startswith("release.json: ") for fault in quick(bundle))


def test_a_huge_index_and_a_foreign_one_are_refused_unread(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (bundle / "release.json").open("r+b") as file:
        file.truncate(MAX_INDEX_BYTES + 1)  # sparse: nothing is written
    assert any("has more than" in fault for fault in quick(bundle))
    for data in (b"", b"[]", b"{}", b"{" * 100_000, b'{"form":2}', b"\xff"):
        (bundle / "release.json").write_bytes(data)
        assert any(fault.startswith("release.json: ") for fault in quick(bundle)), data[:20]
        assert not looked_at(bundle).holds
    for most in (1, 10):  # in whatever order they are found, the index among them or not
        monkeypatch.setattr(looking_at_files, "MAX_FILES", most)
        assert any(f"more than {most} files" in fault for fault in quick(bundle))


def test_another_key_than_was_expected_is_named(site: Path, bundle: Path, tmp_path: Path) -> None:
    own = (site / "bundle" / "release.pem").read_bytes()
    (tmp_path / "other.pem").write_bytes(LIAR.public.pem)
    (tmp_path / "own.pem").write_bytes(own)
    assert said("verify", str(bundle), "--key", str(tmp_path / "own.pem"))
    told = said("verify", str(bundle), "--key", str(tmp_path / "other.pem"), code=1)
    assert f"expected {LIAR.public.hint}" in told
    assert "expected" in said("verify", str(bundle), "--key", "0" * 64, code=1)
    signed_again(bundle)
    assert quick(bundle) == [], "whoever signs it anew is found by his key alone"
    told = said("verify", str(bundle), "--key", str(tmp_path / "own.pem"), code=1)
    assert f"release.pem is the key {LIAR.public.hint}" in told
    (tmp_path / "none.pem").write_bytes(b"none")
    assert "no public key" in said(
        "verify", str(bundle), "--key", str(tmp_path / "none.pem"), code=1
    )
    other = Identity.from_seed(bytes(32)).did
    assert f"expected {other}" in said("verify", str(site / "bundle"), "--expect", other, code=1)


def _other_weights(bundle: Path) -> str:
    """One weight of the last version, by its maker's own hand."""
    path = bundle / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return "model.safetensors: these weights are"


def _other_version(bundle: Path) -> str:
    index = read_index((bundle / "release.json").read_bytes())
    with_index(bundle, version=index.version - 1)
    return "says version 3; the ledger says 4"


def _other_root(bundle: Path) -> str:
    with_index(bundle, tree_root=f"sha256:{'0' * 64}")
    return "release.json names"


def _other_lab(bundle: Path) -> str:
    with_index(bundle, lab=identity("elsewhere").did)
    return "is not signed by"


def _other_time(bundle: Path) -> str:
    with_index(bundle, at_ms=5)
    return "says at_ms 5"


def _other_entry(bundle: Path) -> str:
    path = next((bundle / "ledger" / "tile" / "entries").rglob("*.p/*"))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    return "ledger/tile"


def _other_delta(bundle: Path) -> str:
    """A delta's bytes under its own name."""
    index = read_index((bundle / "release.json").read_bytes())
    anchor, *_ = sorted(index.blobs, key=lambda each: each.size, reverse=True)
    path = bundle / "blobs" / "sha256" / anchor.digest[7:9] / anchor.digest[7:]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return f"{anchor.digest[7:]} holds the blob"


@pytest.mark.parametrize(
    "lie",
    [
        _other_weights,
        _other_version,
        _other_root,
        _other_lab,
        _other_time,
        _other_entry,
        _other_delta,
    ],
)
def test_who_changes_a_release_and_signs_it_anew_is_found_by_what_the_ledger_says(
    bundle: Path, lie: Callable[[Path], str]
) -> None:
    expected = lie(bundle)
    signed_again(bundle)
    faults = list(looked_at(bundle).faults)
    assert any(expected in fault for fault in faults), faults


def test_a_signature_that_leaves_files_out_is_none(bundle: Path) -> None:
    from archipel.release.oms.folder import bundle_over, file_sha256
    from archipel.release.oms.statement import signed_files

    names = [p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()]
    digests = {n: file_sha256(bundle / n)[0] for n in names if n != "release.sig"}
    digests["release.pem"] = LIAR.public.hint
    (bundle / "release.pem").write_bytes(LIAR.public.pem)
    del digests["config.json"]
    some = signed_files("m", digests, ("release.sig", "config.json"))
    (bundle / "release.sig").write_bytes(bundle_over(some, LIAR))
    faults = quick(bundle)
    assert any("leaves files out" in fault for fault in faults)
    assert any("config.json was signed by nobody" in fault for fault in faults)


def test_an_operator_vouches_for_one_key_and_one_release(bundle: Path) -> None:
    boss, index = identity("operator"), (bundle / "release.json").read_bytes()
    (bundle / "release.voucher").write_bytes(vouch(boss, index, LIAR.public.hint))
    signed_again(bundle)
    assert quick(bundle) == []
    assert f"the key is vouched for by {boss.did}" in looked_at(bundle).steps[1].shown
    for word in (vouch(boss, index, "0" * 64), vouch(boss, index + b" ", LIAR.public.hint), b"{}"):
        (bundle / "release.voucher").write_bytes(word)
        signed_again(bundle)
        assert any(fault.startswith("release.voucher: ") for fault in quick(bundle))


@pytest.mark.slow
def test_a_release_is_vouched_for_where_the_operator_makes_it(site: Path, tmp_path: Path) -> None:
    identity("operator").save(tmp_path / "operator.key")
    whole = made(site, "vouched", "--operator-key", str(tmp_path / "operator.key"))
    shown = looked_at(whole).steps[1].shown
    assert f"the key is vouched for by {identity('operator').did}" in shown


def test_a_bundle_without_its_ledger_or_blobs_verifies_what_it_has_and_says_the_rest(
    bundle: Path,
) -> None:
    index = read_index((bundle / "release.json").read_bytes())
    shutil.rmtree(bundle / "ledger")
    shutil.rmtree(bundle / "blobs")
    kept = [
        json.loads(component.model_dump_json())
        for component in index.components
        if not any(place.startswith(("blobs", "ledger")) for place in component.places)
    ]
    with_index(bundle, components=kept, blobs=[])
    signed_again(bundle)
    report = looked_at(bundle)
    assert report.holds, list(report.faults)
    outcomes = {step.number: step.outcome for step in report.steps}
    assert [outcomes[n] for n in (4, 5, 7)] == ["not looked at"] * 3
    assert outcomes[6] == "holds"
    assert "the ledger: it does not lie in this bundle" in report.steps[-1].unshown


def test_making_is_refused_with_what_to_do(site: Path, tmp_path: Path) -> None:
    home = ("--home", str(site / "lab"))
    out = ("--out", str(tmp_path / "out"))
    assert "is there already" in said("make", NAME, *home, "--out", str(site / "bundle"), code=1)
    assert "opens no run 'other'" in said("make", "other", *home, *out, code=1)
    assert "beyond the newest version" in said("make", NAME, *home, *out, "--versions", "9", code=1)
    said("make", NAME, *home, *out, "--versions", "x", code=2)
    said("make", NAME, *home, *out, "--lab", "http://127.0.0.1:9", code=2)
    (tmp_path / "stated.toml").write_text("titel = 1")
    stated = ("--stated", str(tmp_path / "stated.toml"))
    assert "titel: unknown key" in said("make", NAME, *home, *out, *stated, code=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_the_lab_has_no_more_is_named_and_the_rest_holds(site: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(site / "lab", site / "thin"))
    index = read_index((site / "bundle" / "release.json").read_bytes())
    report = looked_at(site / "bundle")
    assert report.index == index
    smallest = json.loads((site / "bundle" / "data" / "rollouts.json").read_bytes())["results"][0]
    digest = smallest["digest"].removeprefix("sha256:")
    (copied / "blobs" / digest[:2] / digest[2:]).unlink()
    thin = made(site, "thin-bundle", home="thin")
    found = looked_at(thin)
    assert found.holds, list(found.faults)
    assert found.index is not None
    assert found.index.missing == ("1 of 9 results: the lab has them no more",)
    last = made(site, "last", "--versions", "last")
    found = looked_at(last, replace(Expected(), lab=index.lab))
    assert found.holds, list(found.faults)
    assert found.index is not None
    (line,) = found.index.missing
    assert line.startswith("4 versions (0, 1, 2, 3): not asked for")
    assert found.steps[6].shown == ["1 of 5 versions: 1 anchor, 0 deltas"]
