"""QAPI's own types, where Python's are wider."""

from typing import Annotated

from msgspec import Meta

# QAPI integers have 64 bits.  A broken peer may send more, which no float can hold: that message is refused.
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # of what can only grow; a counter below zero is no counter
