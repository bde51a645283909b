"""A shard is what it says, or is refused; a corpus is what its manifest names, or every fault is said."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from archipel.records.corpus import BadCorpus, CorpusManifest, shard_size
from archipel.training.corpus.folder import MANIFEST
from archipel.training.corpus.shard import BadShard, is_whole, open_shard, read_shard, write_shard
from archipel.training.corpus.tokenising import Ids
from archipel.training.corpus.verifying import verify_corpus
from corpora import DIGEST, TOLD, made, manifest_of, shard_bytes, write_text

TOKENS_AT, DOCUMENTS_AT, ENDS_AT = 16, 24, 128


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return shard_bytes(tmp_path_factory.mktemp("shard"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    made(write_text(folder / "text.txt", 60), folder / "corpus", held_out_millionths=200_000)
    return folder / "corpus"


@pytest.mark.parametrize(("kind", "largest"), [("<u2", 65_535), ("<u4", 2**24 - 1)])
def test_what_was_written_is_read(kind: str, largest: int, tmp_path: Path) -> None:
    tokens = np.array([0, 1, largest, 7], dtype=kind)
    write_shard(tmp_path / "s", np.array([1, 4]), tokens, (DIGEST, DIGEST))
    shard = open_shard(tmp_path / "s")
    assert shard.tokens.tolist() == tokens.tolist()
    assert shard.ends.tolist() == [1, 4]
    assert shard.header.size == (tmp_path / "s").stat().st_size == shard_size(4, 2, int(kind[-1]))
    assert is_whole(tmp_path / "s", shard.header)
    shard.require_ids_below(largest + 1)
    with pytest.raises(BadShard, match=f"token {largest} is beyond the vocabulary of {largest}"):
        shard.require_ids_below(largest)
    with pytest.raises(ValueError, match="read-only"):
        shard.tokens[0] = 1


def _with(data: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def test_every_other_form_is_refused_by_a_sentence(data: bytes) -> None:
    for changed, words in (
        (b"", "got 0 bytes, expected a header of 128"),
        (data[:127], "expected a header of 128"),
        (b"X" + data[1:], "which no shard does"),
        (_with(data, 8, "<H", 2), "form 2 .* expected form 1"),
        (_with(data, 10, "<H", 3), "tokens of 3 bytes"),
        (_with(data, 12, "<I", 1), "is not known here"),
        (_with(data, TOKENS_AT, "<Q", 2**60), "expected 1 to"),
        (_with(data, TOKENS_AT, "<Q", 0), "expected 1 to"),
        (_with(data, DOCUMENTS_AT, "<Q", 2**24 + 1), "expected 1 to"),
        (_with(data, TOKENS_AT, "<Q", 34), "expected 228 by its header"),
        (data[:-1], "got 225 bytes, expected 226"),
        (data + b"x", "got 227 bytes"),
        (_with(data, ENDS_AT, "<Q", 0), "do not end in ascending order"),
        (_with(data, ENDS_AT + 8, "<Q", 5), "do not end in ascending order"),
        (_with(data, ENDS_AT + 24, "<Q", 34), "do not end in ascending order"),
    ):
        with pytest.raises(BadShard, match=words):
            read_shard(changed)


def test_a_manifest_is_read_as_written_and_only_so() -> None:
    manifest = manifest_of(300, 41)
    assert CorpusManifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.tokens == 341
    assert [each.windows(20) for each in manifest.shards] == [14, 2]
    assert manifest.digest != manifest_of(300, 42).digest
    said = manifest.to_bytes()
    for changed, words in (
        (said.replace(b'"form":1', b'"form":2'), "none of form 1: form"),
        (said.replace(b'"license"', b'"licence"'), "Extra inputs|Field required"),
        (said.replace(b'"tokens":41', b'"tokens":42'), "of 42 tokens .* has 220 bytes, not 218"),
        (
            said.replace(b'"vocabulary":259', b'"vocabulary":70000'),
            "has 1336 bytes, not 736",
        ),
        (said.replace(b"CC0-1.0", b"what; ever"), "license"),
        (said + b" ", "canonical"),
        (b"{", "not JSON"),
        (b" " * (32 * 2**20 + 1), "expected at most"),
    ):
        with pytest.raises(BadCorpus, match=words):
            CorpusManifest.from_bytes(changed)
    changes = {"tokens": 1, "documents": 2, "size": shard_size(1, 2, 2)}
    shard = manifest.shards[0].model_copy(update=changes)
    with pytest.raises(ValueError, match="2 documents do not fit into 1 tokens"):
        CorpusManifest(**{**dict(manifest), "shards": (shard,)})


def test_a_whole_corpus_has_no_fault_and_fits_the_tokenizer_it_was_made_with(corpus: Path) -> None:
    found = verify_corpus(corpus, Ids.named("bytes"), TOLD.append)
    assert found.faults == found.strays == ()
    (fault,) = verify_corpus(corpus, Ids.named("characters"), TOLD.append).faults
    assert "was made with the tokenizer" in fault


def test_every_fault_of_a_corpus_is_named_with_its_file(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    names = sorted(path.name for path in folder.glob("*.tokens"))
    assert names[0] == "held-out-00000.tokens"
    (folder / names[0]).unlink()
    data = bytearray((folder / names[1]).read_bytes())
    data[-1] ^= 1
    (folder / names[1]).write_bytes(data)
    (folder / names[2]).write_bytes((folder / names[2]).read_bytes()[:-2])
    (folder / "shard-00099.tokens").write_bytes(b"x")
    found = verify_corpus(folder, None, TOLD.append)
    assert found.strays == ("shard-00099.tokens",)
    first, second, third = sorted(found.faults)
    assert first.startswith(f"{names[0]}: missing")
    assert second.startswith(f"{names[1]}: corrupt: got sha256:")
    assert third.startswith(f"{names[2]}: got ")


def test_a_shard_that_its_manifest_names_and_contradicts_is_a_fault(
    corpus: Path, tmp_path: Path
) -> None:
    """Bytes that have the manifest's digest, and are still not what it says: whoever made it made it wrong."""
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    manifest = CorpusManifest.from_bytes((folder / MANIFEST).read_bytes())

    def found_with(**changes: object) -> tuple[str, ...]:
        (folder / MANIFEST).write_bytes(manifest.model_copy(update=changes).to_bytes())
        return verify_corpus(folder, None, TOLD.append).faults

    assert "its header says tokenizer" in found_with(tokenizer=DIGEST)[0]
    wrong = manifest.shards[0].model_copy(update={"text": DIGEST})
    assert "its header says text" in found_with(shards=(wrong, *manifest.shards[1:]))[0]
    assert "is beyond the vocabulary of 40" in found_with(vocabulary=40)[0]
