"""QAPI's own types, where Python's are wider."""

from typing import Annotated

from msgspec import Meta

# A number that tells one thing from another: QAPI integers have 64 bits, and a reply with a longer one is refused.
# What is measured is a plain int: one that cannot be true must not affect the others of its reply (see Samples).
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
