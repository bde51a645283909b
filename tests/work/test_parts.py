"""A version in parts has the digest of the same weights unparted, and every part is believed by its own alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from archipel.model.manifest import BadWeights, describe
from archipel.records.canonical import sha256_digest
from archipel.records.part_manifest import TensorFact, tensors_of
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.weight_parts import BadParts, PartIndex, read_blobs, read_index
from archipel.records.weight_state import state_of
from archipel.work.export import ExportFailed
from archipel.work.joining import Receipt, join
from archipel.work.kind import WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.part_chain import SomeParts, write_some
from archipel.work.part_files import part_of, write_part
from archipel.work.part_plan import (
    CannotPart,
    goal_of,
    layers,
    parts_folder,
    planned,
    rows_wanted,
    share,
    wanted,
)
from archipel.work.policies import Policy, follow
from archipel.work.publishing import write_in_parts
from tiny import tiny_recipe

State = dict[str, torch.Tensor]


def weights(seed: int) -> State:
    """A model of twelve layers, whose tenth sorts before its second; names are not in order."""
    chance = torch.Generator().manual_seed(seed)
    shapes = {"model.norm.weight": (8,), "model.embed.weight": (24, 8), "lm_head.weight": (24, 8)}
    for layer in range(12):
        shapes |= {f"model.layers.{layer}.{name}": (4, 8) for name in ("up", "down")}
    return {
        name: torch.randn(shape, generator=chance).to(torch.bfloat16)
        for name, shape in shapes.items()
    }


def policy(seed: int, version: int, parent: str | None) -> Policy:
    state = weights(seed)
    return Policy(state, describe(state, version, parent))


def published(folder: Path, parts: int, *, is_anchor: bool = True) -> list[LinkMessage]:
    """Versions 0 and 1; the second as a delta and, if so, whole."""
    first = policy(0, 0, None)
    second = policy(1, 1, first.manifest.state)
    links = []
    for held, made in ((None, first), (first, second)):
        files = folder / str(made.manifest.version) / "files"
        files.mkdir(parents=True)
        anchored = is_anchor or held is None
        write_in_parts(files, held, made, parts, is_anchor=anchored)
        links.append(link(files, made, "anchor" if held is None else "delta"))
    return links


def link(files: Path, made: Policy, of: str) -> LinkMessage:
    index = read_index((files / "manifest").read_bytes())
    said = read_blobs((files / of).read_bytes(), index, of)
    folder = parts_folder(files)

    def path(blob) -> Path:
        return folder / blob.digest.removeprefix("sha256:")

    return LinkMessage(
        version=made.manifest.version,
        policy=made.manifest.state,
        manifest=files / "manifest",
        anchor=files / of if of == "anchor" else None,
        delta=files / of if of == "delta" else None,
        parts=tuple(
            (path(part.manifest), path(blob))
            for part, blob in zip(index.parts, said.blobs, strict=True)
        ),
    )


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("parts", [1, 4, 27])
def test_a_chain_in_parts_gives_the_weights_and_the_digest_of_the_chain_unparted(
    tmp_path: Path, parts: int
) -> None:
    links = published(tmp_path, parts)
    last = follow(links, None, links[-1].policy)
    assert same(last.state, weights(1))
    assert last.manifest == describe(weights(1), 1, links[0].policy)
    whole = link(tmp_path / "1" / "files", last, "anchor")
    assert same(follow([whole], None, whole.policy).state, last.state)


def test_a_part_is_refused_by_its_own_digests(tmp_path: Path) -> None:
    links = published(tmp_path, 6)
    victim = links[1].parts[2]
    for path, good in ((p, p.read_bytes()) for p in victim):
        path.write_bytes(links[1].parts[3][1].read_bytes())
        with pytest.raises((BadWeights, WorkFailed)):
            follow(links, None, links[-1].policy)
        path.write_bytes(good)
    short = links[1].model_copy(update={"parts": links[1].parts[:-1]})
    with pytest.raises(WorkFailed, match="of them are at hand"):
        follow([links[0], short], None, links[-1].policy)


def test_a_delta_of_a_part_follows_from_that_part_alone(tmp_path: Path) -> None:
    plan = list(planned(forms(weights(0)), 200))
    old, new, other = weights(0), weights(1), weights(2)
    number = 3
    apart = set(dict(plan[number].forms))
    elsewhere = [
        {name: (a if name in apart else b)[name] for name in old}
        for a, b in ((old, other), (new, other))
    ]
    receipts = []
    for before, after in ((old, new), tuple(elsewhere)):
        held = part_of(before, plan[number], 0, None)
        part = part_of(after, plan[number], 1, held.manifest.state)
        receipts.append(write_part(tmp_path, number, part, held, is_anchor=True))
    assert receipts[0] == receipts[1]


def forms(state: State):
    return [(name, tuple(state[name].shape)) for name in sorted(state)]


def receipts_of(folder: Path, state: State, most: int | None, ranks: int = 1) -> list[Receipt]:
    """What several writers tell, each of its own share."""
    plan, told = list(planned(forms(state), 150, most)), []
    for rank in range(ranks):
        for number in share([each.num_bytes for each in plan], rank, ranks):
            part = part_of(state, plan[number], 0, None)
            said = write_part(folder, number, part, None, is_anchor=True)
            told.append(Receipt.from_bytes(said.to_bytes()))
    return told


def joined(folder: Path, told: list[Receipt]):
    return join(
        told, lambda blob: (folder / blob.digest.removeprefix("sha256:")).read_bytes(), 0, None
    )


@pytest.mark.parametrize(("most", "ranks"), [(None, 3), (100, 1), (100, 3)])
def test_whoever_joins_has_receipts_and_no_tensors_and_finds_the_unparted_digest(
    tmp_path: Path, most: int | None, ranks: int
) -> None:
    state = weights(0)
    made = joined(tmp_path, receipts_of(tmp_path, state, most, ranks))
    assert made.index.state == describe(state, 0, None).state
    assert any(part.rows for part in made.index.parts) == (most is not None)
    files = tmp_path / "files"
    files.mkdir()
    for role, data in (("manifest", made.index.to_bytes()), ("anchor", made.anchor.to_bytes())):
        (files / role).write_bytes(data)
    (tmp_path / "parts").symlink_to(tmp_path)
    read = link(files, Policy(state, describe(state, 0, None)), "anchor")
    assert same(follow([read], None, made.index.state).state, state)


def test_rows_of_a_tensor_that_make_another_are_refused(tmp_path: Path) -> None:
    """Each part is what it says; together they are not the tensor that they say."""
    state = {"w": weights(0)["lm_head.weight"]}
    told = receipts_of(tmp_path, state, 100)
    liar = {"w": state["w"].flip(0)}
    others = receipts_of(tmp_path, liar, 100)
    mixed = [
        each.model_copy(
            update={"part": each.part.model_copy(update={"rows": told[each.number].part.rows})}
        )
        for each in others
    ]
    made = joined(tmp_path, mixed)
    assert made.index.state == joined(tmp_path, told).index.state
    files = tmp_path / "files"
    files.mkdir()
    (files / "manifest").write_bytes(made.index.to_bytes())
    (files / "anchor").write_bytes(made.anchor.to_bytes())
    (tmp_path / "parts").symlink_to(tmp_path)
    read = link(files, Policy(state, describe(state, 0, None)), "anchor")
    with pytest.raises(BadWeights, match="rows of w"):
        follow([read], None, made.index.state)


def test_receipts_that_do_not_make_a_version_are_refused(tmp_path: Path) -> None:
    told = receipts_of(tmp_path, weights(0), 100)
    rows = next(each.number for each in told if each.part.rows and each.part.rows.start)
    gone = [each for each in told if each.number != rows]
    with pytest.raises(BadParts, match="expected each"):
        joined(tmp_path, gone)
    renumbered = [each.model_copy(update={"number": place}) for place, each in enumerate(gone)]
    with pytest.raises(BadParts, match="row"):
        joined(tmp_path, renumbered)
    with pytest.raises(BadParts, match="expected each"):
        joined(tmp_path, [*told, told[0]])
    with pytest.raises(BadParts, match="is not sha256"):
        join(told, lambda blob: b"{}", 0, None)


def test_an_index_says_which_parts_hold_a_stage(tmp_path: Path) -> None:
    state = weights(0)
    index = joined(tmp_path, receipts_of(tmp_path, state, 100)).index
    for first, stop in ((0, 3), (2, 11), (9, 12)):
        numbers = wanted(index, layers(first, stop))
        held = {
            each.name
            for number in numbers
            for each in tensors_of(
                (tmp_path / index.parts[number].manifest.digest[7:]).read_bytes(),
                index.parts[number],
            )
        }
        needed = {n for n in state if n.startswith(layers(first, stop))}
        assert needed <= held
        assert len(numbers) < len(index.parts)
    assert wanted(index, [""]) == tuple(range(len(index.parts)))
    halves = [rows_wanted(index, wanted(index, ["lm_head."]), rank, 2) for rank in range(2)]
    assert sorted(halves[0] + halves[1]) == list(wanted(index, ["lm_head."]))


def test_every_part_is_written_by_one_rank() -> None:
    sizes = [5, 1, 9, 9, 2, 7, 3]
    shares = [share(sizes, rank, 3) for rank in range(3)]
    assert sorted(number for each in shares for number in each) == list(range(len(sizes)))
    assert max(sum(sizes[n] for n in each) for each in shares) <= 14


def test_a_plan_keeps_layers_together_and_refuses_what_it_cannot_cut() -> None:
    state = weights(0)
    plan = list(planned(forms(state), goal_of(sum(2 * w.numel() for w in state.values()), 8)))
    assert [form for part in plan for form in part.forms] == forms(state)
    assert 4 <= len(plan) <= 16
    with pytest.raises(CannotPart, match="order of their names"):
        list(planned([("b", (1,)), ("a", (1,))], 10))
    with pytest.raises(CannotPart, match="4096"):
        list(planned([(f"t{n:05}", (1,)) for n in range(5000)], 1))
    with pytest.raises(CannotPart, match="expected 1 to"):
        goal_of(10, 0)


def test_what_an_index_says_of_itself_is_checked(tmp_path: Path) -> None:
    made = joined(tmp_path, receipts_of(tmp_path, weights(0), 100))
    index, data = made.index, made.index.to_bytes()
    assert read_index(data) == index
    assert read_blobs(made.anchor.to_bytes(), index, "anchor") == made.anchor
    turned = {"parts": index.parts[::-1]}
    for wrong in (turned, {"weights": index.weights + 1}, {"parts": index.parts[:-1]}):
        lie = PartIndex.model_construct(**(dict(index) | wrong))
        with pytest.raises(BadParts):
            read_index(lie.to_bytes())
    with pytest.raises(BadParts, match="canonical"):
        read_index(data + b" ")
    with pytest.raises(BadParts, match="expected"):
        read_blobs(made.anchor.to_bytes(), index, "delta")


def test_the_state_digest_of_facts_is_that_of_a_manifest() -> None:
    whole = describe(weights(0), 0, None)
    part = part_of(weights(0), next(planned(forms(weights(0)), 10**9)), 0, None, whole)
    assert part.manifest == whole
    assert sha256_digest(part.manifest.to_bytes()) == sha256_digest(whole.to_bytes())
    assert state_of([]) == sha256_digest(b"[]")


def test_a_recipe_without_parts_has_the_bytes_that_it_always_had() -> None:
    plain = tiny_recipe(2, 0)
    parted = plain.model_dump() | {"run": plain.run.model_dump() | {"parts": 4}}
    assert b"parts" not in plain.canonical_bytes()
    recipe = Recipe.model_validate(parted)
    assert recipe_from_canonical(recipe.canonical_bytes()).run == recipe.run
    assert recipe.digest != plain.digest
    with pytest.raises(ValueError, match=r"run\.parts = 4 and \[adapter\]"):
        Recipe.model_validate(parted | {"adapter": {"rank": 4}})


def test_a_part_is_read_by_itself_and_another_in_its_place_is_refused(tmp_path: Path) -> None:
    links = published(tmp_path, 6)
    steps = [
        SomeParts(read_index(each.manifest.read_bytes()), dict(enumerate(each.parts)))
        for each in links
    ]
    for path in write_some(steps, (2, 4), tmp_path / "out"):
        for name, tensor in load_file(path).items():
            assert torch.equal(tensor, weights(1)[name])
    swapped = SomeParts(steps[1].index, dict(enumerate(links[1].parts)) | {2: links[1].parts[3]})
    with pytest.raises(ExportFailed, match="part 2: a part's manifest is of"):
        write_some([steps[0], swapped], (2,), tmp_path / "out")


def test_names_out_of_order_have_no_state() -> None:
    facts = [TensorFact(name, (1,), sha256_digest(b"w")) for name in ("b", "a")]
    with pytest.raises(BadParts, match="a comes after b"):
        state_of(facts)
