"""`archipel node stake | decoy` and `archipel lab vouch`: who vouches for a node, and who looks at others."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, KeyName, home_folder, mending, show
from archipel.cli.keys import load_key, load_or_make_key, operator_key
from archipel.cli.lab_door import JSON, ask_lab

if TYPE_CHECKING:
    from archipel.identity import Identity
    from archipel.node.decoys import Decoy
    from archipel.records.documents import NodeView

MICRO = 1_000_000
MOST_CREDITS = 1e9
CREDITS = click.FloatRange(1e-6, MOST_CREDITS)
NODE_HOME = click.option(
    "--node-home", type=click.Path(path_type=Path), help="Where the node's key lies [~/.archipel/node]."
)  # fmt: skip
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A key that may open runs [~/.archipel/lab/operator.key].",
)
DECOY_KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A key that may open runs, or that RUN trusts [~/.archipel/lab/operator.key].",
)


@click.command()
@click.option(
    "--put", "credits_put", type=CREDITS, metavar="CREDITS", help="Vouch with so much of the balance."
)  # fmt: skip
@click.option("--back", is_flag=True, help="Take all of it back, after leaving.")
@NODE_HOME
@LAB
@JSON
def stake(
    credits_put: float | None, back: bool, node_home: Path | None, lab_url: str, as_json: bool
) -> None:
    """What this node vouches with at a lab; put more in, or take it back.

    Where a run asks for stakes, a node's first pay is kept as its stake. A hard verdict takes it. It comes back to a
    node that has left, once nothing that it did can be judged any more.

    \b
    Examples:
      archipel node stake --lab http://lab.example:8440
      archipel node stake --put 0.05
      archipel node stake --back
    """
    if back and credits_put is not None:
        raise click.UsageError("--put and --back at once; give one of them")
    identity = load_key(home_folder("node", node_home, make=False) / "node.key")
    micro = None if credits_put is None else round(credits_put * MICRO)
    view = ask_lab(_stake(lab_url, identity, micro, back))
    facts = {
        "node": identity.did,
        "credit_micro": 0 if view is None else view.credit_micro,
        "stake_micro": 0 if view is None else view.stake_micro,
    }
    show(facts, as_json, lambda: _told(facts))


def _told(facts: dict[str, Any]) -> str:
    staked, all_of_it = facts["stake_micro"] / 1e6, facts["credit_micro"] / 1e6
    return f"{facts['node']}: {all_of_it:.6f} credits, of which {staked:.6f} are its stake"


async def _stake(
    url: str, identity: "Identity", micro: int | None, back: bool
) -> "NodeView | None":
    from archipel.node.client import LabClient
    from archipel.node.exchange import LabRefused
    from archipel.records.documents import NodeView
    from archipel.records.stakes import StakePut, StakeReturned

    async with LabClient(url, identity) as lab:
        await lab.greet()
        if micro is not None:
            await lab.submit(StakePut, micro=micro)
        if back:
            await lab.submit(StakeReturned)
        try:
            return await lab.read(NodeView, f"/nodes/{identity.did}")
        except LabRefused as error:
            if error.problem != "not-found":
                raise
            return None


@click.command()
@click.argument("did", metavar="DID", type=KeyName())
@click.argument("amount", metavar="CREDITS", type=CREDITS)
@KEY
@LAB
@JSON
def vouch(did: str, amount: float, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Vouch for the node DID with CREDITS of this operator's; they are the node's stake from then on.

    For nodes whose owner paid for it elsewhere, or whom you know: where a run asks for a deposit, whoever gives
    stakes to strangers gives them something to cheat with.

    \b
    Example:
      archipel lab vouch did:key:z6Mk... 0.05
    """
    micro = round(amount * MICRO)
    index = ask_lab(_vouch(lab_url, operator_key(key), did, micro))
    facts = {"node": did, "micro": micro, "entry": index}
    show(facts, as_json, lambda: f"{did} vouches with {amount:.6f} credits more, entry {index}")


async def _vouch(url: str, operator: "Identity", did: str, micro: int) -> int:
    from archipel.node.client import LabClient
    from archipel.records.stakes import StakeGiven

    async with LabClient(url, operator) as lab:
        await lab.greet()
        return (await lab.submit(StakeGiven, node=did, micro=micro)).index


@click.command()
@click.argument("run")
@click.option(
    "--share", default=0.2, show_default=True, type=click.FloatRange(0.0, 1.0),
    help="Share of its answers that are wrong on purpose, by one bit in every rollout; 0: all are right.",
)  # fmt: skip
@click.option("--reveal", is_flag=True, help="Say that it was one, and have its auditors judged.")
@DECOY_KEY
@NODE_HOME
@LAB
@JSON
def decoy(
    run: str,
    share: float,
    reveal: bool,
    key: Path | None,
    node_home: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Make the node of a home a decoy in RUN, to see which auditors look; later reveal it.

    An operator of the lab, or a trusted role (--key), commits to it in the ledger; then start the node as any other:
    nobody can tell it from one. Some of its answers are wrong by a bit that no learner notices. Revealed, those who
    audited it and said otherwise than they should have lose their pay; where another auditor saw it too, the second
    time costs a part of their stake. The decoy itself keeps whatever verdicts it earned: use a fresh home for each. The
    secret stays in the home, for its owner alone, until it is revealed; where the lab's answer got lost, the same
    command goes on.

    \b
    Examples:
      archipel node decoy my-run --node-home ~/decoy
      archipel node join http://lab.example:8440 --home ~/decoy
      archipel node decoy my-run --node-home ~/decoy --reveal
    """
    from archipel.node.decoys import Decoy
    from archipel.node.small_files import Unreadable

    folder = home_folder("node", node_home)
    with mending(OSError, Unreadable):
        if reveal:
            node = load_key(folder / "node.key")
            _show_up(lab_url, node, folder, run)
            told = f"is revealed as a decoy in {run}; archipel audits {run} shows who looked"
        else:
            node = load_or_make_key(folder / "node.key")
            _plant(lab_url, node, operator_key(key), folder, Decoy.fresh(run, round(share * 1000)))
            told = f"is a decoy in {run} from its next start on; keep {folder} to yourself"
    facts = {"node": node.did, "run": run, "revealed": reveal}
    show(facts, as_json, lambda: f"{node.did} {told}")


def _plant(url: str, node: "Identity", operator: "Identity", folder: Path, made: "Decoy") -> None:
    """Kept before anybody knows of it, until it is revealed: a secret that is lost cannot be.

    What ended without the lab's word is finished by the same command, with the secret that is kept.
    """
    from dataclasses import replace

    from archipel.node.decoys import keep, kept

    found = kept(folder)
    is_again = found is not None and (found.is_committed, found.run, found.share_milli) == (
        False,
        made.run,
        made.share_milli,
    )
    made = found if found is not None and is_again else made
    keep(folder, made)
    digest = made.commitment(node.did)
    ask_lab(_commit_or_forget(url, operator, made.run, digest, None if is_again else folder))
    keep(folder, replace(made, is_committed=True))


async def _commit_or_forget(
    url: str, operator: "Identity", run: str, digest: str, fresh: Path | None
) -> None:
    """fresh: where the secret is kept, if the lab never heard of it; then one that it refuses is worth nothing."""
    from archipel.node.decoys import forget
    from archipel.node.exchange import LabRefused

    try:
        await _commit(url, operator, run, digest)
    except LabRefused as error:
        if error.problem == "committed-before":
            return
        if fresh is not None and not (error.is_no_labs or error.may_be_of_the_wire):
            forget(fresh)
        raise


def _show_up(url: str, node: "Identity", folder: Path, run: str) -> None:
    from archipel.node.decoys import forget

    ask_lab(_reveal(url, node, _kept(folder, run)))
    forget(folder)


def _kept(folder: Path, run: str) -> "Decoy":
    from archipel.node.decoys import kept

    found = kept(folder)
    if found is not None and not found.is_committed:
        raise click.ClickException(
            f"the lab has not confirmed the decoy of {folder}; finish it first: archipel node decoy {found.run}"
        )
    if found is None or found.run != run:
        raise click.ClickException(
            f"the node of {folder} is no decoy in {run}; name its home with --node-home, and the run it was made for"
        )
    return found


async def _commit(url: str, operator: "Identity", run: str, digest: str) -> None:
    from archipel.node.client import LabClient
    from archipel.records.plants import PlantsCommitted

    async with LabClient(url, operator) as lab:
        await lab.greet()
        await lab.submit(PlantsCommitted, run=run, digest=digest)


async def _reveal(url: str, node: "Identity", made: "Decoy") -> None:
    from archipel.node.client import LabClient
    from archipel.records.plants import PlantsRevealed

    async with LabClient(url, node) as lab:
        await lab.greet()
        await lab.submit(
            PlantsRevealed, run=made.run, secret=made.secret, share_milli=made.share_milli
        )
