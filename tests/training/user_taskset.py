"""A tiny taskset of the verifiers interface whose Env is the user: it says higher or lower, for the adapter's test."""

import verifiers.v1 as vf

__all__ = ["Numbers", "Player"]


class NumberData(vf.TaskData):
    """What is to be found."""

    number: int


class NumberTask(vf.Task[NumberData]):
    """Found, and how soon."""

    @vf.reward
    async def found(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(self.data.number))

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return float(trace.num_turns)


class NumbersConfig(vf.TasksetConfig):
    """How many."""

    highest: int = 60
    agents: int = 1


class Numbers(vf.Taskset[NumberTask, NumbersConfig]):
    """All of them."""

    def load(self):
        for number in range(self.config.highest + 1):
            data = NumberData(prompt=None, number=number, name=f"number {number}")
            yield NumberTask(data, self.config.task)


class PlayerConfig(vf.EnvConfig):
    """One guesses."""

    guesser: vf.AgentConfig = vf.AgentConfig()


class Player(vf.Env[PlayerConfig]):
    """The user thinks of a number."""

    async def run(self, task, agents):
        async with agents.guesser.interaction(task) as game:
            told = await game.turn("Guess my number.")
            while not told.terminated and told.last_reply != str(task.data.number):
                is_below = int(told.last_reply or 0) < task.data.number
                told = await game.turn("higher" if is_below else "lower")
