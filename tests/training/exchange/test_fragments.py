"""A model in fragments: each tensor in one, layers by strides, the rest where it weighs least."""

from math import prod

import pytest

from archipel.training.exchange import fragments


def shapes(num_layers: int) -> dict[str, tuple[int, ...]]:
    """A small model's."""
    layers = {
        f"model.layers.{i}.{name}": shape
        for i in range(num_layers)
        for name, shape in (("mlp.experts.7.up", (8, 4)), ("norm", (4,)))
    }
    return {"lm_head": (50, 4), "model.embed": (50, 4), "model.norm": (4,), **layers}


@pytest.mark.parametrize("num_layers", [1, 2, 5, 12])
def test_every_tensor_is_in_exactly_one_and_layers_by_strides(num_layers: int) -> None:
    table = shapes(num_layers)
    for count in range(1, num_layers + 1):
        parts = fragments(table, count)
        assert len(parts) == count
        assert all(parts)
        assert sorted(name for names in parts for name in names) == sorted(table)
        for place, names in enumerate(parts):
            assert list(names) == sorted(names)
            numbers = {int(name.split(".")[2]) for name in names if "layers" in name}
            assert numbers == set(range(place, num_layers, count))


def test_what_belongs_to_no_layer_goes_where_it_weighs_least() -> None:
    parts = fragments(shapes(5), 3)
    weights = [sum(prod(shapes(5)[name]) for name in names) for names in parts]
    where = {name: place for place, names in enumerate(parts) for name in names}
    assert where["lm_head"] == 2, "fragments 0 and 1 have two layers"
    assert where["model.embed"] == 0
    assert where["model.norm"] == 1
    assert max(weights) - min(weights) <= 200


def test_fragments_depend_on_the_table_alone() -> None:
    table = shapes(6)
    assert fragments(dict(reversed(table.items())), 4) == fragments(table, 4)
    apart = {name.replace("layers.", "layers.1"): shape for name, shape in table.items()}
    renamed = [
        tuple(sorted(n.replace("layers.", "layers.1") for n in names))
        for names in fragments(table, 2)
    ]
    assert list(fragments(apart, 2)) == renamed, "a stage's layers, from another number on"


def test_without_a_layer_for_each_there_are_no_fragments() -> None:
    for count in (0, 7, -1):
        with pytest.raises(ValueError, match="of 6 layers; expected 1 to as many"):
            fragments(shapes(6), count)
    assert fragments({"a": (3,)}, 1) == (("a",),)
