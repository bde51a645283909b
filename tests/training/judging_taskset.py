"""A taskset of the verifiers interface whose Env judges by itself, which is refused."""

import verifiers.v1 as vf
from user_taskset import Numbers, Player, PlayerConfig

__all__ = ["Judging", "Numbers"]


class Judging(vf.Env[PlayerConfig]):
    """Judges the whole episode."""

    run = Player.run

    async def finalize(self, task, episode):
        """What nobody calls here."""
