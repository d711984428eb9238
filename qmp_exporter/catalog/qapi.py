"""QAPI's own types, where Python's are wider."""

from typing import Annotated

from msgspec import Meta

# QAPI integers have 64 bits.  A broken peer may send more, which no float can hold: that message is refused.
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
