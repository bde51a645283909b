"""Who works for a run follows its learner: the cheapest nodes that keep it busy, and the ledger says why."""

from archipel.lab.standby import why_not
from archipel.market.provisioning import Why
from people import Learner, Provider
from world import World

MANY = {"versions": 60, "groups_per_update": 4, "max_groups_per_lease": 2, "max_staleness": 2}


class Shop:
    """A run whose learner takes 4 s for a version, and nodes that take so many ms for a group."""

    STEP_MS = 4000

    def __init__(self, world: World, paces_ms: dict[str, int]) -> None:
        self.world, self.learner = world, world.started(**MANY)
        self.nodes = {name: world.provider(name) for name in paces_ms}
        self.paces_ms = dict(paces_ms)
        self.fetches_ms = dict.fromkeys(paces_ms, 0)
        self._fetched: dict[str, int] = {}

    def set_(self) -> set[str]:
        members = self.world.run().working.members
        return {name for name, node in self.nodes.items() if node.did in members}

    def why(self, name: str) -> Why:
        return why_not(self.world.run(), self.nodes[name].did)

    def version(self) -> None:
        """Everybody who is given anything does it, one after another; then the learner makes a version."""
        for name, node in self.nodes.items():
            while (granted := node.ask()) is not None:
                is_new = self._fetched.get(name) != granted.spec.version
                self._fetched[name] = granted.spec.version
                took_ms = self.paces_ms[name] * len(granted.spec.groups)
                self.world.now_ms += took_ms + is_new * self.fetches_ms[name]
                node.answer(granted)
        granted = self.learner.ask()
        while granted is not None:
            self.world.now_ms += self.STEP_MS if granted.spec.kind == "update" else 0
            self.learner.answer(granted)
            granted = self.learner.ask() if granted.spec.kind != "update" else None
