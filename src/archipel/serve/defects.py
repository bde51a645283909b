"""Defects of ours, logged without a word of what was asked: messages of errors may quote it."""

import logging
import traceback

from archipel.serve.question import Broken

logger = logging.getLogger("archipel.serve")
MAX_PLACES = 8


def broken(error: Exception, where: str = "answering") -> Broken:
    """What whoever asked is told; the log has the places in the source."""
    places = "".join(traceback.format_tb(error.__traceback__)[-MAX_PLACES:])
    logger.error("%s while %s\n%s", type(error).__name__, where, places)
    return Broken(f"the server failed ({type(error).__name__}); its log says where")
