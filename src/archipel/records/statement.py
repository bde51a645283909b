"""What every statement carries. The statements themselves are in `statements`."""

from typing import Annotated

from pydantic import Field

from archipel.records.fields import MAX_SEQ, Closed, Did

Seq = Annotated[int, Field(ge=1, le=MAX_SEQ)]


class Statement(Closed):
    """What every statement carries."""

    lab: Did
    """The lab it is addressed to."""
    author: Did
    """Whose key signs it."""
    seq: Seq
    """Greater than any the author used at this lab before."""
