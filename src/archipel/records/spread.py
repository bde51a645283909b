"""Over how many devices one engine splits its model, and who carries it there. Only vLLM splits one."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Closed

MAX_DEVICES = 64


class Spread(Closed):
    """Of one engine; every device holds a slice of each product (tensor parallel)."""

    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    by: Literal["processes", "ray"] = "processes"
    """vLLM's own processes on this host, or Ray, over several hosts of one site."""

    @property
    def is_one(self) -> bool:
        """Whether nothing is split."""
        return self.devices == 1


ONE_DEVICE = Spread()
