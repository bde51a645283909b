"""Defects of ours, logged without a word of what was asked: messages of errors may quote it."""

import errno
import logging
import traceback

from archipel.serve.question import Broken, Short

logger = logging.getLogger("archipel.serve")
MAX_PLACES = 8
SHORT_OF = {errno.EMFILE: "files to open", errno.ENFILE: "files to open", errno.ENOMEM: "memory"}


def broken(error: Exception, where: str = "answering") -> Broken:
    """What whoever asked is told; the log has the places in the source, unless the system just gave no more."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if isinstance(error, MemoryError | OSError) and number in SHORT_OF:
        logger.error("no more %s while %s", SHORT_OF[number], where)
        return Short(f"the server is short of {SHORT_OF[number]}; ask again in a moment")
    places = "".join(traceback.format_tb(error.__traceback__)[-MAX_PLACES:])
    logger.error("%s while %s\n%s", type(error).__name__, where, places)
    return Broken(f"the server failed ({type(error).__name__}); its log says where")
