"""Auditors that say yes, and one that repeats it, at a real lab: a decoy that really samples shows who looked."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.cli.ledger_checked import HEAD_FILE
from archipel.cli.node_stake import _commit, _reveal
from archipel.identity import Identity
from archipel.lab.audits import audits
from archipel.lab.recovery import pages, replay
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from archipel.node.decoys import Decoy, keep
from archipel.records.kinds.audit import AuditSpec
from archipel.records.statements import LeaseGranted, WorkAnswered
from stage import Stage
from tiny import NAME, write_start

CHEATING = str(Path(__file__).parents[1] / "cheating.py")
DECOY, YES = "decoy", ("yes", "copier")
ALL = 1000


def said_yes(stage: Stage, did: str, yes: list[str]) -> bool:
    """Whether one of these found an answer of this node right."""
    history = [statement for _, statement in stage.site.history()]
    asked = {each.work: each.spec for each in history if isinstance(each, LeaseGranted)}
    answers = [each for each in history if isinstance(each, WorkAnswered)]
    own = {each.work for each in answers if each.author == did}
    return any(
        isinstance(spec := asked[each.work], AuditSpec) and spec.work in own
        for each in answers
        if each.author in yes
    )


@pytest.mark.slow
def test_a_decoy_shows_who_looked(tmp_path: Path) -> None:
    start = write_start(tmp_path / "start")
    with Stage(tmp_path / "site", start, versions=200, staleness=1) as stage:
        exact = stage.recipe.sampling.model_copy(update={"engine": "exact", "variant": "w7a8"})
        stage.recipe = stage.recipe.model_copy(update={"sampling": exact})
        stage.open()
        site = stage.site
        home, did = site.home(DECOY), site.did(DECOY)
        made = replace(Decoy.fresh(NAME, ALL), is_committed=True)
        keep(home, made)
        asyncio.run(_commit(site.url, site.operator(), NAME, made.commitment(did)))
        yes = [site.start_node(name, program=[CHEATING, "yes"]) for name in YES]
        site.start_node(DECOY)
        stage.wait(lambda: said_yes(stage, did, yes), "an audit of the decoy")
        asyncio.run(_reveal(site.url, Identity.load(home / "node.key"), made))
        site.close()
        lab = site.home("lab")
    key = Identity.load(lab / "lab.key").did
    log = read_log(lab / "ledger.sqlite", lab_key(key), lab / HEAD_FILE)
    state = replay(key, pages(log))
    log.close()
    known = audits(state.runs[NAME])
    wrong = [case for case in (*known.closed, *known.cases.values()) if case.planted == "differs"]
    liars = {each.auditor for case in wrong for each in case.opinions if each.says == "agree"}
    assert liars
    assert liars <= set(yes)
    assert all(state.nodes[each].standing.refuted > 0 for each in liars)
    assert sum(state.book.values()) == 0
