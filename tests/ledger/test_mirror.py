"""A ledger as plain files: the same tree however it grew, and every flipped byte named."""

import random
from pathlib import Path

import pytest

from archipel.identity import Identity
from archipel.ledger.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from archipel.ledger.mirror import CHECKPOINT, Mirror, verified
from archipel.ledger.storage import LedgerCorrupt, LedgerMissing
from archipel.ledger.tiles import (
    ENTRIES,
    BadTile,
    Place,
    bundle,
    entries_of,
    grown,
    place_at,
    places,
)
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key

LAB = Identity.from_seed(bytes(31) + b"\x07")
KEY = lab_key(LAB.did)
ENTRY = [b"%d:" % number + bytes([number % 251]) * (number % 7) for number in range(70_000)]


def head(size: int) -> TreeHead:
    return sign_tree_head(LAB, KEY.name, size, root_of(ENTRY[:size]))


def made(folder: Path, *sizes: int) -> Mirror:
    mirror = Mirror(folder, KEY)
    for size in sizes:
        mirror.extend(ENTRY[mirror.size : size], head(size))
    return mirror


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_paths_are_those_of_the_specification() -> None:
    assert Place(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Place(1, 5, 17).path == "tile/1/005.p/17"
    assert Place(ENTRIES, 0, 256).path == "tile/entries/000"
    for path in ("tile/0/x001/x234/067", "tile/1/005.p/17", "tile/entries/x001/000.p/255"):
        place = place_at(path)
        assert place is not None
        assert place.path == path
    for path in (
        "tile/0/1",
        "tile/9/000",
        "tile/0/x000/000",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/../000",
    ):
        assert place_at(path) is None, path


def test_bundles_come_back_and_nothing_else_does() -> None:
    data = bundle([b"a", b"b" * 65_535])
    assert entries_of(data, 2) == [b"a", b"b" * 65_535]
    for bad, width in (
        (data[:-1], 2),
        (data + b"x", 2),
        (data, 1),
        (data, 3),
        (b"\0\0", 1),
        (b"", 1),
    ):
        with pytest.raises(BadTile):
            entries_of(bad, width)
    for entries in ([], [b""], [b"x" * 65_536], [b"x"] * 257):
        with pytest.raises(BadTile):
            bundle(entries)


@pytest.mark.parametrize(
    "size", [1, 255, 256, 257, 600, pytest.param(66_000, marks=pytest.mark.slow)]
)
def test_a_mirror_is_the_same_however_it_grew(tmp_path: Path, size: int) -> None:
    draw = random.Random(size)
    steps = sorted({draw.randint(1, size) for _ in range(4)} | {min(256, size), size})
    whole, grew = made(tmp_path / "whole", size), made(tmp_path / "grew", *steps)
    assert files(tmp_path / "whole") == files(tmp_path / "grew")
    assert set(files(tmp_path / "whole")) == {place.path for place in places(size)} | {CHECKPOINT}
    assert list(verified(grew)) == ENTRY[:size]
    assert whole.entry(size - 1) == ENTRY[size - 1]


def test_what_grew_is_what_was_not_there() -> None:
    for old, new in ((0, 1), (255, 256), (256, 257), (300, 70_000), (65_535, 65_536), (512, 512)):
        assert set(grown(old, new)) == set(places(new)) - set(places(old))


def test_proofs_from_tiles_hold(tmp_path: Path) -> None:
    mirror = made(tmp_path, 66_000)
    root = mirror.head.root if mirror.head else b""
    for index in (0, 255, 256, 65_535, 65_536, 65_999):
        proof = inclusion_proof(index, 66_000, mirror.nodes())
        verify_inclusion(leaf_hash(ENTRY[index]), index, 66_000, proof, root)
    for old in (1, 256, 300, 65_536, 65_999):
        proof = consistency_proof(old, 66_000, mirror.nodes())
        verify_consistency(old, 66_000, root_of(ENTRY[:old]), root, proof)


def test_every_flipped_byte_is_found_and_its_file_named(tmp_path: Path) -> None:
    made(tmp_path, 300, 600)
    sound, draw = files(tmp_path), random.Random(1)
    assert list(verified(Mirror(tmp_path, KEY))) == ENTRY[:600]
    for name, data in sound.items():
        spots = range(len(data)) if len(data) < 200 else draw.sample(range(len(data)), 60)
        for spot in spots:
            spoiled = bytearray(data)
            spoiled[spot] ^= 1 << draw.randrange(8)
            (tmp_path / name).write_bytes(spoiled)
            with pytest.raises(LedgerCorrupt) as found:
                list(verified(Mirror(tmp_path, KEY)))
            assert str(tmp_path / name) in str(found.value), (name, spot)
        (tmp_path / name).write_bytes(data)


def test_missing_further_and_torn_files_are_named(tmp_path: Path) -> None:
    made(tmp_path, 600)
    for name, data in files(tmp_path).items():
        if name == CHECKPOINT:
            continue
        (tmp_path / name).unlink()
        with pytest.raises(LedgerCorrupt, match="is missing"):
            list(verified(Mirror(tmp_path, KEY)))
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(LedgerCorrupt, match=name.replace(".", r"\.")):
            list(verified(Mirror(tmp_path, KEY)))
        (tmp_path / name).write_bytes(data)
    further = tmp_path / "tile" / "0" / "7"
    further.write_bytes(bytes(32))
    with pytest.raises(LedgerCorrupt, match="tile/0/7 is none"):
        list(verified(Mirror(tmp_path, KEY)))
    with pytest.raises(LedgerMissing):
        list(verified(Mirror(tmp_path / "none", KEY)))


def test_a_mirror_takes_in_nothing_but_what_was_signed(tmp_path: Path) -> None:
    mirror, before = made(tmp_path, 300), head(300)
    forged = sign_tree_head(LAB, KEY.name, 310, root_of(ENTRY[:299] + [b"other"] * 11))
    cases = {
        "some were left out": (ENTRY[300:309], head(310)),
        "more entries than": (ENTRY[300:320], head(310)),
        "do not lead to the root": ([b"other"] * 10, head(310)),
        "shows two histories": ([b"other"] * 10, forged),
        "gone back to an older ledger": ([], head(200)),
    }
    for says, (entries, newer) in cases.items():
        with pytest.raises(LedgerCorrupt, match=says):
            mirror.extend(entries, newer)
        again = Mirror(tmp_path, KEY)
        assert again.head == before
        again.extend([], before)
        mirror = again
    mirror.extend(ENTRY[300:310], head(310))
    assert list(verified(Mirror(tmp_path, KEY))) == ENTRY[:310]


def test_a_mirror_that_was_killed_while_it_grew_goes_on(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def some(count: int):
        yield from ENTRY[300 : 300 + count]
        raise Killed

    mirror = made(tmp_path, 300)
    for count in (1, 211, 212, 213, 500):
        with pytest.raises(Killed):
            mirror.extend(some(count), head(1000))
        mirror = Mirror(tmp_path, KEY)
        assert mirror.size == 300
        assert mirror.entry(299) == ENTRY[299]
    mirror.extend(ENTRY[300:1000], head(1000))
    assert list(verified(Mirror(tmp_path, KEY))) == ENTRY[:1000]


def test_a_checkpoint_of_another_lab_is_refused(tmp_path: Path) -> None:
    made(tmp_path, 3)
    other = lab_key(Identity.from_seed(bytes(31) + b"\x08").did)
    with pytest.raises(LedgerCorrupt, match="not signed by"):
        Mirror(tmp_path, other)
