"""Saved groups over the wire: ids of results, nested as `GroupResult.as_tuple` has them."""

from __future__ import annotations

from typing import Any

import orjson

from outsourced.errors import InvalidRequest
from outsourced.resultsets import MAX_SAVED
from outsourced.wire.strict import encode, parse


def dump_group(members: str) -> bytes:
    """The body that `load_group` reads."""
    return orjson.dumps({"group": orjson.Fragment(members)})


def load_group(body: bytes) -> str:
    """The members in a body, as JSON text; raises MalformedJSON or InvalidRequest."""
    tree = parse(body)
    group: Any = tree.get("group") if isinstance(tree, dict) else None
    if not isinstance(group, list):
        raise InvalidRequest("group must be a list: [[id, parent], members]", path="group")
    members = encode(group)
    if members is None:
        raise InvalidRequest("group is nested too deeply", path="group")
    if len(members) > MAX_SAVED:
        raise InvalidRequest(
            f"group takes {len(members):,} bytes of JSON, the limit is {MAX_SAVED:,}", path="group"
        )
    return members.decode()
