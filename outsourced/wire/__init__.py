"""Everything that crosses HTTP, as both ends of it read and write: messages, problems, file headers.

The exchange is on the hot path and has a codec checked by hand; `outsourced.wire.schemas` describes
the same messages in marshmallow, and the tests hold the two to one verdict. docs/protocol.md says it
in words.
"""

from __future__ import annotations

from outsourced.wire.exchange import dump_exchange, load_exchange
from outsourced.wire.headers import PROTOCOL, PROTOCOL_HEADER
from outsourced.wire.problems import error_from_answer
from outsourced.wire.reply import dump_reply, load_reply

__all__ = [
    "PROTOCOL",
    "PROTOCOL_HEADER",
    "dump_exchange",
    "dump_reply",
    "error_from_answer",
    "load_exchange",
    "load_reply",
]
