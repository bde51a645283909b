"""A tiny taskset of the verifiers interface, for the adapter's contract test."""

import verifiers.v1 as vf

__all__ = ["Sums"]


class SumData(vf.TaskData):
    """Two numbers and their sum."""

    answer: str


class SumTask(vf.Task[SumData]):
    """Half the reward for a number, all of it for the right one."""

    @vf.reward(weight=0.75)
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == self.data.answer)

    @vf.reward(weight=0.25)
    async def number(self, trace: vf.Trace) -> float:
        return float(trace.last_reply.isdecimal())


class MachineTask(SumTask):
    """Prepares a machine first."""

    async def setup(self, trace: vf.Trace, runtime: vf.Runtime) -> None:
        await runtime.write("note", b"")


class SumConfig(vf.TasksetConfig):
    """How many numbers, and whether a machine is asked for."""

    highest: int = 9
    machine: bool = False


class Sums(vf.Taskset[SumTask, SumConfig]):
    """All sums of two numbers."""

    def load(self):
        kind = MachineTask if self.config.machine else SumTask
        for one in range(self.config.highest + 1):
            for other in range(self.config.highest + 1):
                data = SumData(prompt=f"{one}+{other}=", answer=str(one + other))
                yield kind(data, self.config.task)
