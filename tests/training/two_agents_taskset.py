"""A taskset of the verifiers interface that two agents play, which is refused."""

import verifiers.v1 as vf
from user_taskset import Numbers, Player

__all__ = ["Numbers", "Two"]


class TwoConfig(vf.EnvConfig):
    """One asks, one answers."""

    one: vf.AgentConfig = vf.AgentConfig()
    other: vf.AgentConfig = vf.AgentConfig()


class Two(vf.Env[TwoConfig]):
    """Both are models."""

    run = Player.run
