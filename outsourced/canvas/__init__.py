"""Work flows: calls not yet made, and what becomes of one another's results.

A canvas is laid out as a flat plan: jobs, and what each waits for, enqueued in one call.
"""

from outsourced.canvas.chains import chain
from outsourced.canvas.composite import chord, group
from outsourced.canvas.maps import chunks, xmap, xstarmap
from outsourced.canvas.signature import Signature, maybe_signature, signature
from outsourced.canvas.stamping import StampingVisitor

__all__ = [
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "signature",
    "xmap",
    "xstarmap",
]
