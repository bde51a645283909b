"""Which hosts are the machine that asks, by what they are called. Pure: no name is looked up."""

import ipaddress


def is_own_machine(host: str) -> bool:
    """Whether this host, without brackets, is the machine that asks."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
