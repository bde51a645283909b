"""The same text gives the same corpus, however often it is stopped; what is there is not made again."""

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archipel.cli.doors import child_environment
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.records.corpus import BadCorpus
from archipel.training.corpus.folder import MANIFEST, read_manifest, shard_names
from archipel.training.corpus.making import CannotMake, Made, make_corpus
from archipel.training.corpus.planning import is_held_out, text_digest
from archipel.training.corpus.shard import open_shard
from archipel.training.corpus.sources import BadSource, Rules, documents_in
from archipel.training.corpus.tokenising import Ids
from corpora import TOLD, contents, document, made, order, write_text

GOLDEN = "sha256:e79bebc1f7060eb351c635fe121d3f6866291132bcf1f21df9f8bac10bec0b72"
"""Of the corpus below: its bytes are the same on every machine and in every release of this form."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("source") / "text.txt")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    folder = tmp_path_factory.mktemp("whole") / "corpus"
    return made(source, folder), folder


def _texts(folder: Path, prefix: str) -> list[str]:
    ids, texts = byte_tokenizer(), []
    for path in sorted(folder.glob(f"{prefix}-*.tokens")):
        shard, begin = open_shard(path), 0
        for end in map(int, shard.ends):
            own = shard.tokens[begin:end].tolist()
            assert (own[0], own[-1]) == (ids.bos_id, ids.eos_id)
            texts.append(ids.decode(own))
            begin = end
    return texts


def test_every_document_is_there_once_and_whole_on_the_side_its_text_says(
    whole: tuple[Made, Path],
) -> None:
    made_now, folder = whole
    expected = list(dict.fromkeys(document(number) for number in range(120)))
    held = [each for each in expected if is_held_out(text_digest(each.encode()), 100_000)]
    assert 0 < len(held) < 30
    assert _texts(folder, "held-out") == held
    assert _texts(folder, "shard") == [each for each in expected if each not in held]
    counts = made_now.manifest.counts
    assert (counts.read, counts.duplicates, counts.empty) == (120, 120 - len(expected), 0)
    assert counts.text_bytes == sum(len(each.encode()) for each in expected)


def test_the_manifest_says_what_its_files_are_and_they_are_what_they_always_were(
    whole: tuple[Made, Path],
) -> None:
    made_now, folder = whole
    assert read_manifest(folder) == made_now.manifest
    assert made_now.manifest.digest == GOLDEN
    for name, shard in shard_names(made_now.manifest).items():
        opened = open_shard(folder / name)
        assert (opened.header.tokens, opened.header.documents) == (shard.tokens, shard.documents)
        assert opened.header.tokenizer == made_now.manifest.tokenizer
    assert all(shard.tokens <= 1100 for shard in made_now.manifest.shards)
    assert len(made_now.manifest.shards) > 5


def test_a_make_that_was_stopped_goes_on_and_comes_out_the_same(
    source: Path, whole: tuple[Made, Path], tmp_path: Path
) -> None:
    out = tmp_path / "corpus"

    class Stopped(KeyboardInterrupt):
        pass

    def tell(where: str) -> None:
        if where.startswith("3 of"):
            raise Stopped

    with pytest.raises(Stopped):
        make_corpus(order(source, out), tell, {})
    assert not (out / MANIFEST).exists()
    with pytest.raises(BadCorpus, match="no corpus was finished there"):
        read_manifest(out)
    other = made(source, tmp_path / "other", shard_tokens=500)
    assert other.num_made > 3
    (tmp_path / "other" / "shard-00001.tokens").replace(out / "shard-00001.tokens")
    (out / "shard-00003.tokens.partial").write_bytes(b"cut off")
    (out / "shard-00090.tokens").write_bytes(b"of other settings")
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tokens")}
    again = made(source, out)
    assert again.num_kept == 2, "one is whole, and of other text"
    assert contents(out) == contents(whole[1])
    kept = {path.name for path in out.iterdir() if times.get(path.name) == path.stat().st_mtime_ns}
    assert len(kept) == 2


def test_a_finished_corpus_is_looked_at_mended_and_never_replaced_by_another(
    source: Path, whole: tuple[Made, Path], tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    made(source, out)
    path = out / "shard-00002.tokens"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    again = made(source, out)
    assert (again.num_made, again.num_kept) == (1, len(shard_names(again.manifest)) - 1)
    assert contents(out) == contents(whole[1])
    for others, what in (
        ({"shard_tokens": 500}, "other text"),
        ({"is_keeping_duplicates": True}, "other text"),
        ({"tokenizer": str(tmp_path / "own")}, "another tokenizer"),
    ):
        (tmp_path / "own").mkdir(exist_ok=True)
        byte_tokenizer().with_chat_template("x").write(tmp_path / "own")
        renamed = json.loads((tmp_path / "own" / "tokenizer.json").read_text())
        renamed["model"]["vocab"]["zz"] = 259
        (tmp_path / "own" / "tokenizer.json").write_text(json.dumps(renamed))
        with pytest.raises(CannotMake, match=f"a finished corpus of .*{what}"):
            made(source, out, **others)
    assert contents(out) == contents(whole[1])


def test_duplicates_are_kept_where_that_is_asked_for(source: Path, tmp_path: Path) -> None:
    kept = made(source, tmp_path / "corpus", is_keeping_duplicates=True).manifest
    assert kept.counts.duplicates == 0
    assert sum(each.documents for each in (*kept.shards, *kept.held_out)) == 120


@contextmanager
def _full_after(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: what a full disk is, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_disk_that_takes_no_more_is_said_and_what_is_whole_is_kept(
    source: Path, whole: tuple[Made, Path], tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    sizes = [path.stat().st_size for path in sorted(whole[1].glob("*.tokens"))]
    assert len(set(sizes)) > 1
    with _full_after(max(sizes) - 1), pytest.raises(CannotMake, match="the same command goes on"):
        made(source, out)
    assert not list(out.glob("*.partial"))
    assert made(source, out).num_kept == len(list(out.glob("*.tokens"))) - _not_yet(sizes)
    assert contents(out) == contents(whole[1])


def _not_yet(sizes: list[int]) -> int:
    """Shards from the first that was too large on, in the order of making: held-out ones are last."""
    held, *shards = sizes
    in_order = [*shards, held]
    return len(in_order) - in_order.index(max(in_order))


def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    for name, data, where in (
        ("a.txt", b"good\n\nb\xff", r"a.txt, byte 7: not UTF-8"),
        (
            "a.jsonl",
            b'{"text": "x"}\n{"body": "y"}\n',
            r"byte 14: expected text in 'text', got 'body'",
        ),
        ("a.jsonl", b"[1]\n", r"byte 0: expected text in 'text', got no object"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', r"byte 14: not a line of JSON"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"half of a surrogate pair"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadSource, match=where):
            list(documents_in(tmp_path / name, Rules("blank-lines")))
    with pytest.raises(BadSource, match="is no file and no folder"):
        made(tmp_path / "nowhere", tmp_path / "out")
    write_text(tmp_path / "b.txt", 4)
    with pytest.raises(BadSource, match=r"b.txt, byte 0: cannot encode .* choose a tokenizer"):
        made(tmp_path / "b.txt", tmp_path / "out", tokenizer="characters")
    (tmp_path / "b.txt").write_text(" \n\n\n \n")
    with pytest.raises(BadCorpus, match="nothing is left to train on of 0 documents"):
        made(tmp_path / "b.txt", tmp_path / "out")


def test_a_source_that_changes_meanwhile_is_no_silent_other_corpus(tmp_path: Path) -> None:
    source = write_text(tmp_path / "text.txt", 40)

    def tell(where: str) -> None:
        if where.startswith("making"):
            source.write_text(source.read_text().replace("lamp", "lump"))

    with pytest.raises(BadSource, match="changed while the corpus was being made"):
        make_corpus(order(source, tmp_path / "out"), tell, {})


def test_documents_of_files_folders_and_lines_are_the_same_text(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").write_text("no")
    for number, name in enumerate(("a.txt", "deep/b.md", "z.txt")):
        (folder / name).write_text(document(number))
    lines = tmp_path / "lines.jsonl"
    said = [json.dumps({"body": document(number), "id": number}) for number in range(3)]
    lines.write_text("\n\n".join([*said, json.dumps({"body": "  \n"})]))
    settings = {"held_out_millionths": 0, "shard_tokens": 10**6}
    one = made(folder, tmp_path / "one", rules=Rules("file"), **settings).manifest
    two = made(lines, tmp_path / "two", rules=Rules(field="body"), **settings).manifest
    assert one.shards == two.shards
    assert (one.counts.empty, two.counts.empty) == (0, 1)


def test_a_tokenizer_has_one_digest_however_its_file_is_written(tmp_path: Path) -> None:
    own = byte_tokenizer()
    own.write(tmp_path)
    assert Ids(Tokenizer.from_directory(tmp_path)).digest == Ids(own).digest
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    assert Ids(Tokenizer.from_directory(tmp_path)).digest == Ids.named("bytes").digest
    told["model"]["vocab"]["Ġt"], told["model"]["merges"] = 259, [["Ġ", "t"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    merged = Ids(Tokenizer.from_directory(tmp_path))
    assert merged.digest not in (Ids(own).digest, Ids.named("characters").digest)
    assert merged.vocabulary == 260


@pytest.mark.slow
def test_three_processes_make_the_same_bytes_as_one(
    source: Path, whole: tuple[Made, Path], tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    again = make_corpus(order(source, out, processes=3), TOLD.append, child_environment())
    assert again.num_made == len(shard_names(again.manifest))
    assert contents(out) == contents(whole[1])


@pytest.mark.slow
def test_what_a_further_process_cannot_do_is_said_as_if_it_were_done_here(tmp_path: Path) -> None:
    source = write_text(tmp_path / "text.txt", 40)
    asked = order(source, tmp_path / "out", tokenizer="characters", processes=2)
    with pytest.raises(BadSource, match="choose a tokenizer that expresses any text"):
        make_corpus(asked, TOLD.append, child_environment())
    with (
        _full_after(500),  # children have it from us
        pytest.raises(CannotMake, match="File too large; what is whole stays"),
    ):
        make_corpus(order(source, tmp_path / "out", processes=2), TOLD.append, child_environment())
