"""What a lab shows of how it takes in newcomers."""

from archipel.records.document import Document
from archipel.records.fields import Count
from archipel.records.membership import Policy


class JoiningFacts(Document):
    """What a lab asks of who is new to it."""

    policy: Policy
    allowed: Count
    """Keys on its list."""
    effort_bits: Count
    """Leading zero bits of the effort that it asks for; 0: none."""
    places: Count
    """Nodes of one operator that may be here at the same time."""
