"""Countries as sources write them -> ISO 3166-1 alpha-2. A name that is not here is unknown."""

from typing import Final

from archipel.observatory.rows import UNKNOWN

_TABLE = """
AE United Arab Emirates|UAE
AM Armenia
AR Argentina
AT Austria
AU Australia
BE Belgium
BR Brazil
CA Canada
CH Switzerland
CL Chile
CN China|People's Republic of China
CZ Czechia|Czech Republic
DE Germany
DK Denmark
EG Egypt
ES Spain
FI Finland
FR France
GB United Kingdom of Great Britain and Northern Ireland|United Kingdom|UK
GR Greece
HK Hong Kong
HR Croatia
HU Hungary
ID Indonesia
IE Ireland
IL Israel
IN India
IR Iran (Islamic Republic of)|Iran
IS Iceland
IT Italy
JP Japan
KR Korea (Republic of)|South Korea
LB Lebanon
LT Lithuania
LU Luxembourg
MX Mexico
MY Malaysia
NL Netherlands
NO Norway
NZ New Zealand
PL Poland
PT Portugal
RO Romania
RU Russia|Russian Federation
SA Saudi Arabia
SE Sweden
SG Singapore
TH Thailand
TR Turkey|Türkiye
TW Taiwan
UA Ukraine
US United States of America|United States|USA
VN Vietnam|Viet Nam
ZA South Africa
"""
COUNTRIES: Final = {
    name: line[:2] for line in _TABLE.strip().splitlines() for name in line[3:].split("|")
}


def country_of(name: str) -> str:
    """Its code; unknown for "Multinational", for nothing, and for a name that the table lacks."""
    return COUNTRIES.get(name, UNKNOWN)
