"""The weights a worker holds move only along verified chains, forwards or anew."""

from pathlib import Path

import pytest
import torch

from archipel.model.manifest import describe
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.canonical import sha256_digest
from archipel.work.export import ExportFailed, write_version
from archipel.work.kind import Context, WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.policies import Policies
from tiny import tiny_recipe
from work import asked

LAST = 5


def weights(version: int) -> torch.Tensor:
    """Every other version leaves them as they were."""
    return torch.arange(64).to(torch.bfloat16) + version // 2


def link(version: int, policy: str, manifest: Path, anchor: Path | None, delta: Path | None):
    return LinkMessage(
        version=version, policy=policy, manifest=manifest, anchor=anchor, delta=delta
    )


@pytest.fixture
def chain(tmp_path: Path) -> list[LinkMessage]:
    """Versions 0 to LAST, each with an anchor and (but for the first) a delta."""
    links, parent, before = [], None, None
    for version in range(LAST + 1):
        state = {"w": weights(version)}
        manifest = describe(state, version, parent.state if parent else None)
        files = {"manifest": manifest.to_bytes(), "anchor": encode_anchor(state)}
        if parent is not None:
            files["delta"] = encode_delta(before, state, parent, manifest)
        paths = {}
        for name, data in files.items():
            paths[name] = tmp_path / f"{version}-{name}"
            paths[name].write_bytes(data)
        links.append(
            link(version, manifest.state, paths["manifest"], paths["anchor"], paths.get("delta"))
        )
        parent, before = manifest, state
    return links


def context(tmp_path: Path, links: list[LinkMessage]) -> Context:
    return asked.context(tiny_recipe(1, 0), tmp_path, tmp_path, chain=tuple(links))


def anchor(given: LinkMessage) -> LinkMessage:
    return given.model_copy(update={"delta": None})


def delta(given: LinkMessage) -> LinkMessage:
    return given.model_copy(update={"anchor": None})


@pytest.mark.parametrize("held", [None, *range(LAST + 1)])
@pytest.mark.parametrize("target", range(LAST + 1))
def test_every_way_to_a_version_ends_at_its_very_weights(
    tmp_path: Path, chain: list[LinkMessage], held: int | None, target: int
) -> None:
    policies = Policies()
    if held is not None:
        policies.advance(context(tmp_path, [anchor(chain[held])]), chain[held].policy)
    if held is not None and held <= target:
        ways = [[delta(each) for each in chain[held + 1 : target + 1]]]
    else:
        ways = []
    ways += [
        [anchor(chain[first]), *(delta(each) for each in chain[first + 1 : target + 1])]
        for first in range(target + 1)
    ]
    for way in ways:
        policy = policies.advance(context(tmp_path, way), chain[target].policy)
        assert policy.manifest.state == chain[target].policy
        assert torch.equal(policy.state["w"], weights(target))


def test_a_chain_the_child_has_walked_partly_is_continued_where_it_stands(
    tmp_path: Path, chain: list[LinkMessage]
) -> None:
    policies = Policies()
    policies.advance(context(tmp_path, [anchor(chain[3])]), chain[3].policy)
    steps = [delta(each) for each in chain[1:]]
    assert policies.advance(context(tmp_path, steps), chain[LAST].policy).manifest.version == LAST


def test_a_broken_or_corrupt_chain_is_refused_and_what_was_held_stays(
    tmp_path: Path, chain: list[LinkMessage]
) -> None:
    policies = Policies()
    policies.advance(context(tmp_path, [anchor(chain[1])]), chain[1].policy)
    corrupt = tmp_path / "corrupt"
    data = bytearray(chain[2].delta.read_bytes())
    data[-1] ^= 1
    corrupt.write_bytes(data)
    bad = link(2, chain[2].policy, chain[2].manifest, None, corrupt)
    for links, policy in (
        ([delta(chain[4])], chain[4].policy),
        ([bad], chain[2].policy),
        ([link(2, sha256_digest(b"other"), chain[2].manifest, None, chain[2].delta)], "x"),
        ([delta(chain[2])], chain[5].policy),
        ([_mislabelled(chain[2]), delta(chain[3])], chain[3].policy),
    ):
        with pytest.raises(WorkFailed):
            policies.advance(context(tmp_path, links), policy)
        policies.advance(context(tmp_path, []), chain[1].policy)
    policies.advance(context(tmp_path, [delta(chain[2])]), chain[2].policy)


def _mislabelled(given: LinkMessage) -> LinkMessage:
    """Said to be another policy than its manifest's."""
    return delta(given).model_copy(update={"policy": sha256_digest(b"other")})


def test_an_export_of_a_chain_that_leads_nowhere_writes_nothing(
    tmp_path: Path, chain: list[LinkMessage]
) -> None:
    out = tmp_path / "out"
    corrupt = tmp_path / "corrupt"
    corrupt.write_bytes(chain[1].delta.read_bytes()[:-1])
    for links in (
        [],
        [delta(chain[1])],
        [anchor(chain[0]), delta(chain[2])],
        [anchor(chain[0]), link(1, chain[1].policy, chain[1].manifest, None, corrupt)],
        [link(1, chain[2].policy, chain[1].manifest, chain[1].anchor, None)],
    ):
        with pytest.raises(ExportFailed):
            write_version(links, tmp_path, out)
        assert not out.exists()
