"""Readers of what a release brings: signatures of model signing, public keys, an operator's word, statements."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import safetensors.torch
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archipel.identity import Identity
from archipel.key_file import Unusable, sealed_file
from archipel.model.manifest import Over, describe
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.made import Made, read_made
from archipel.records.recipe import AdapterSection
from archipel.release.gathering import _object
from archipel.release.index import Component, Released, read_index
from archipel.release.mirroring.origins import Unusable as NoOrigin
from archipel.release.mirroring.origins import range_start
from archipel.release.oms.bundle import Bundle, read_bundle, verify
from archipel.release.oms.folder import bundle_over
from archipel.release.oms.key import PublicKey, SigningKey, key_of_certificate
from archipel.release.oms.statement import BadOms, read_json, read_statement, signed_files
from archipel.release.oms.voucher import vouch, vouched_by
from archipel.release.papers.slsa import attested, read_attested
from archipel.release.stated import read_stated
from archipel.release.trace.texts import texts_of
from archipel.release.verify.loading import form_of, settings_in
from archipel.release.verify.provenance import said_by
from archipel.release.verify.report import Expected, Looked
from archipel.release.weights.delta import from_anchor, read_delta
from archipel.release.weights.difference import BadDifference, decoded
from archipel.release.weights.manifest import BadVersion, read_manifest
from archipel.release.weights.stored import BadStored, read_header
from fuzz.reading import Reader

KEY = SigningKey.from_scalar(7)
BOSS = Identity.from_seed(bytes(31) + b"\x02")
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def _certificate() -> bytes:
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, WHEN, WHEN)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _key(data: bytes) -> object:
    """From a file; sealed ones as far as the passphrase, whose stretching would be all that is measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.touch(0o600)
        path.write_bytes(data)
        try:
            return SigningKey.load(path, lambda: b"")
        except Unusable as error:
            if "takes a passphrase" in str(error):
                return None
            raise


def _checked(data: bytes) -> object:
    bundle: Bundle = read_bundle(data)
    return verify(bundle, None if bundle.method != "key" else KEY.public)


def _statement() -> bytes:
    made_from = b'[{"name":"n","downloadLocation":"l","digest":{"sha256":"00"}}]'
    return b'{"predicate":{"buildDefinition":{"resolvedDependencies":%b}}}' % made_from


def _settings(data: bytes) -> object:
    """Of a bundle's file beside the weights: what is wrong with it is a fault."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(data)
        looked = Looked(Path(folder), Expected(), lambda where: None)
        return settings_in(looked, "config.json", looked.step("s"))


def _tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.ones(4, 8, dtype=torch.bfloat16), "b.c": torch.zeros(7).bfloat16()}


def _of_an_adapter() -> bytes:
    return describe(
        _tensors(), 0, None, Over(f"sha256:{'2' * 64}", AdapterSection().form)
    ).to_bytes()


def _form() -> bytes:
    return AdapterSection().form.model_dump_json().encode()


def _weights() -> tuple[bytes, bytes, bytes, bytes]:
    """(safetensors file, manifest, anchor, delta to the next version)"""
    one = _tensors()
    other = {name: each + 1 for name, each in one.items()}
    first = describe(one, 0, None)
    second = describe(other, 1, first.state)
    delta = encode_delta(one, other, first, second)
    return safetensors.torch.save(one), first.to_bytes(), encode_anchor(one), delta


def _bundle() -> dict[str, Reader]:
    stored, manifest, anchor, delta = _weights()
    (blob,) = read_delta(delta)[1]
    index = Released(
        title="t", run="r", lab=BOSS.did, origin="o", tree_size=1, tree_root=f"sha256:{'0' * 64}",
        version=0, weights=f"sha256:{'1' * 64}", at_ms=1,
        components=(Component(kind="ledger", name="l", places=("ledger",), licence="MIT"),),
    )  # fmt: skip
    stated = b'title = "T"\n[licences]\ndefault = "MIT"\n[[data]]\nname = "d"\n'
    held = read_manifest(manifest)
    made = Made(
        recipe="{}", first_example=0, began=None, weights=held.state, software="archipel", machine="m", threads=1
    )  # fmt: skip
    return {
        "words of what weights were made from": Reader(
            read_made, (made.to_bytes(),), (ValueError,)
        ),
        "indices of releases": Reader(read_index, (index.to_bytes(),), (ValueError,)),
        "words of a release's owner": Reader(read_stated, (stated,), (ValueError,)),
        "stored tensors": Reader(lambda d: read_header(d, len(d)), (stored,), (BadStored,)),
        "versions without a tensor library": Reader(
            read_manifest, (manifest, _of_an_adapter()), (BadVersion,)
        ),
        "anchors without a tensor library": Reader(
            lambda data: from_anchor(data, held), (anchor,), (BadVersion,)
        ),
        "deltas without a tensor library": Reader(read_delta, (delta,), (BadVersion,)),
        "frames of a delta": Reader(
            lambda data: decoded(bytes(78), replace(blob, where=data)),
            (blob.where,),
            (BadDifference,),
        ),
        "texts of training data": Reader(
            lambda data: texts_of("a.jsonl", data), (b'{"a": ["b", {"c": "d"}]}\nx\n',), ()
        ),
        "what a bundle says of a run": Reader(_object, (b'{"tasks":"x"}',), ()),
    }


def readers() -> dict[str, Reader]:
    """One for each."""
    files = signed_files("m", {"a/b": "0" * 64, "c": "1" * 64}, ("release.sig",))
    with tempfile.TemporaryDirectory() as folder:
        KEY.save(Path(folder) / "key")
        plain = (Path(folder) / "key").read_bytes()
    sealed = sealed_file(f"p256:{KEY.public.hint}", bytes(31) + b"\x07", b"word", 2**14)
    word = vouch(BOSS, b"index", KEY.public.hint)
    return _bundle() | {
        "signatures of model signing": Reader(_checked, (bundle_over(files, KEY),), (BadOms,)),
        "statements of model signing": Reader(read_statement, (files.to_bytes(),), (BadOms,)),
        "public keys of releases": Reader(PublicKey.from_pem, (KEY.public.pem,), (BadOms,)),
        "certificates of releases": Reader(key_of_certificate, (_certificate(),), (BadOms,)),
        "key files of releases": Reader(_key, (plain, sealed), (Unusable,)),
        "ranges of an answer": Reader(
            lambda data: range_start(data.decode("latin-1")),
            (b"bytes 5-9/10", b"bytes 0-0/*"),
            (NoOrigin,),
        ),
        "words for a key": Reader(
            lambda data: vouched_by(data, b"index", KEY.public.hint), (word,), (ValueError,)
        ),
        "statements of stages": Reader(said_by, (_statement(),), (ValueError,)),
        "settings beside weights": Reader(_settings, (b'{"auto_map":{"A":"b"}}',), ()),
        "forms of adapters": Reader(
            lambda data: form_of(read_json(data, len(data), "form")), (_form(),), (ValueError,)
        ),
        "statements answered for": Reader(read_attested, (attested(b"{}", BOSS),), (ValueError,)),
    }
