"""A persistent map behaves as a dictionary that is copied at every change."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from archipel.records.table import Table

keys = st.one_of(st.integers(0, 600), st.text(max_size=3))
steps = st.lists(st.tuples(st.sampled_from(["put", "drop", "put many"]), keys, st.integers()))


@given(steps)
def test_every_version_stays_what_it_was(plan: list[tuple[str, object, int]]) -> None:
    table: Table[object, int] = Table()
    model: dict[object, int] = {}
    history: list[tuple[Table[object, int], dict[object, int]]] = []
    for what, key, value in plan:
        history.append((table, dict(model)))
        if what == "put":
            table, model[key] = table.put(key, value), value
        elif what == "put many":
            table = table.put_all([(key, value), (f"{key}'", value + 1), (key, value + 2)])
            model |= {f"{key}'": value + 1, key: value + 2}
        elif key in model:
            table = table.drop(key)
            del model[key]
        else:
            with pytest.raises(KeyError):
                table.drop(key)
    for version, expected in [*history, (table, model)]:
        assert version == expected
        assert dict(version) == expected
        assert len(version) == len(expected)
        assert sorted(map(repr, version)) == sorted(map(repr, expected))
        assert all(
            version[k] == v and version.get(k) == v and k in version for k, v in expected.items()
        )
        assert "absent" not in version
        assert version.get("absent", 7) == 7


@given(st.dictionaries(keys, st.integers()))
def test_equal_contents_are_equal_however_they_came_about(content: Mapping[object, int]) -> None:
    at_once, one_by_one = Table(content), Table[object, int]()
    for key, value in content.items():
        one_by_one = one_by_one.put("extra", 1).put(key, value)
    if content:
        assert at_once != one_by_one
        one_by_one = one_by_one.drop("extra")
    assert at_once == one_by_one
    assert at_once == dict(content)


@given(st.dictionaries(st.integers(0, 999), st.text(max_size=4)))
def test_a_table_comes_back_equal_from_json(content: dict[int, str]) -> None:
    adapter = TypeAdapter(Table[int, str])
    back = adapter.validate_json(adapter.dump_json(Table(content)))
    assert isinstance(back, Table)
    assert back == content
