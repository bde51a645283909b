"""The weights a worker holds move only along verified chains, forwards or anew."""

from pathlib import Path

import pytest
import torch

from archipel.model.manifest import describe
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.canonical import sha256_digest
from archipel.records.statements import Pace
from archipel.work.kind import Context, Link, WorkFailed
from archipel.work.policies import Policies
from world import PACE

LAST = 5


def weights(version: int) -> torch.Tensor:
    """Every other version leaves them as they were."""
    return torch.arange(64).to(torch.bfloat16) + version // 2


@pytest.fixture
def chain(tmp_path: Path) -> list[Link]:
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
            Link(version, manifest.state, paths["manifest"], paths["anchor"], paths.get("delta"))
        )
        parent, before = manifest, state
    return links


def context(tmp_path: Path, links: list[Link]) -> Context:
    return Context(
        work="run.1",
        run="run",
        pace=Pace(**PACE),
        model=tmp_path,
        chain=tuple(links),
        blobs={},
        scratch=tmp_path,
        memory=None,
        secret=None,
        recipe=None,
        inputs=(),
        replay=(),
    )


def anchor(link: Link) -> Link:
    return Link(link.version, link.policy, link.manifest, link.anchor, None)


def delta(link: Link) -> Link:
    return Link(link.version, link.policy, link.manifest, None, link.delta)


@pytest.mark.parametrize("held", [None, *range(LAST + 1)])
@pytest.mark.parametrize("target", range(LAST + 1))
def test_every_way_to_a_version_ends_at_its_very_weights(
    tmp_path: Path, chain: list[Link], held: int | None, target: int
) -> None:
    policies = Policies()
    if held is not None:
        policies.advance(context(tmp_path, [anchor(chain[held])]), chain[held].policy)
    if held is not None and held <= target:
        ways = [[delta(link) for link in chain[held + 1 : target + 1]]]
    else:
        ways = []
    ways += [
        [anchor(chain[first]), *(delta(link) for link in chain[first + 1 : target + 1])]
        for first in range(target + 1)
    ]
    for way in ways:
        policy = policies.advance(context(tmp_path, way), chain[target].policy)
        assert policy.manifest.state == chain[target].policy
        assert torch.equal(policy.state["w"], weights(target))


def test_a_chain_the_child_has_walked_partly_is_continued_where_it_stands(
    tmp_path: Path, chain: list[Link]
) -> None:
    policies = Policies()
    policies.advance(context(tmp_path, [anchor(chain[3])]), chain[3].policy)
    steps = [delta(link) for link in chain[1:]]
    assert policies.advance(context(tmp_path, steps), chain[LAST].policy).manifest.version == LAST


def test_a_broken_or_corrupt_chain_is_refused_and_what_was_held_stays(
    tmp_path: Path, chain: list[Link]
) -> None:
    policies = Policies()
    policies.advance(context(tmp_path, [anchor(chain[1])]), chain[1].policy)
    corrupt = tmp_path / "corrupt"
    data = bytearray(chain[2].delta.read_bytes())
    data[-1] ^= 1
    corrupt.write_bytes(data)
    bad = Link(2, chain[2].policy, chain[2].manifest, None, corrupt)
    for links, policy in (
        ([delta(chain[4])], chain[4].policy),
        ([bad], chain[2].policy),
        ([Link(2, sha256_digest(b"other"), chain[2].manifest, None, chain[2].delta)], "x"),
        ([delta(chain[2])], chain[5].policy),
    ):
        with pytest.raises(WorkFailed):
            policies.advance(context(tmp_path, links), policy)
        assert policies.version("run") == 1
