"""A tiny taskset of the verifiers interface with tools that keep state, for the adapter's contract test."""

import verifiers.v1 as vf

__all__ = ["Shelves"]


class ShelfData(vf.TaskData):
    """How many things lie on which shelf."""

    shelf: str
    count: int
    wanted: int


class ShelfState(vf.State):
    """What was taken so far."""

    taken: int = 0
    calls: int = 0


class Shelf(vf.Toolset[vf.ToolsetConfig, ShelfState]):
    """Things to be taken, one by one."""

    TOOL_PREFIX = None

    async def setup_task(self, task: ShelfData) -> None:
        self.data = task

    @vf.tool
    def look(self, shelf: str) -> dict:
        """What lies on a shelf."""
        self.state.calls += 1
        lies = self.data.count - self.state.taken if shelf == self.data.shelf else 0
        return {"shelf": shelf, "lies": lies}

    @vf.tool
    async def take(self, shelf: str, number: int, gently: bool = True) -> str:
        """Take so many things from a shelf."""
        self.state.calls += 1
        if shelf != self.data.shelf or number > self.data.count - self.state.taken:
            raise ValueError("there are not so many")
        self.state.taken += number
        return f"took {number}"


class ShelfTask(vf.Task[ShelfData, ShelfState]):
    """Take as many as are wanted."""

    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [Shelf(vf.ToolsetConfig())]

    @vf.stop
    async def enough_calls(self, trace: vf.Trace) -> bool:
        return trace.state.calls >= 5

    @vf.reward(weight=0.75)
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.state.taken == self.data.wanted)

    @vf.reward(weight=0.25)
    async def said_so(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(self.data.wanted))


class ShelfConfig(vf.TasksetConfig):
    """How many shelves."""

    shelves: int = 40


class Shelves(vf.Taskset[ShelfTask, ShelfConfig]):
    """A thing or two on each shelf."""

    def load(self):
        for number in range(self.config.shelves):
            shelf, wanted = f"s{number}", 1 + number % 2
            data = ShelfData(
                prompt=f"take {wanted} from {shelf}", system_prompt="Use your tools.",
                shelf=shelf, count=3, wanted=wanted,
            )  # fmt: skip
            yield ShelfTask(data, self.config.task)
