"""Where in a canvas a job stands: what its task reads in `self.request` of its group and of what follows.

Names and ids, no arguments: those may be large, and would be written once more for each that comes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: of those that follow in a chain, how many are told of
FOLLOWING = 3


@dataclass(frozen=True, slots=True)
class Place:
    """The names are those of the request; signatures are dicts without arguments."""

    group: str | None = None
    group_index: int | None = None
    chord: Mapping[str, Any] | None = None
    chain: tuple[Mapping[str, Any], ...] = ()  #: the next one last, as Celery has it
    callbacks: tuple[Mapping[str, Any], ...] = ()
    errbacks: tuple[Mapping[str, Any], ...] = ()

    def told(self) -> dict[str, Any]:
        """What travels with the job."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if value not in (None, ())
        }

    def linked(self, links: Sequence[Mapping[str, Any]], errbacks: Sequence[Mapping[str, Any]]) -> Place:
        """The same place, of a job with these links."""
        return replace(
            self,
            callbacks=(*self.callbacks, *map(_brief, links)),
            errbacks=(*self.errbacks, *map(_brief, errbacks)),
        )

    def before(self, body: Mapping[str, Any]) -> Place:
        """The place of those whose results this body is given."""
        return replace(self, chord=_brief(body))

    def of_member(self, group: str, index: int) -> Place:
        """The place of a group's member, the group being here."""
        return replace(self, group=group, group_index=index)

    def of_chain(self, steps: Sequence[Mapping[str, Any]], links: Place) -> list[Place]:
        """The places of a chain's calls, the chain being here and linked so."""
        places, briefs = [], [_brief(step) for step in steps]
        for number, step in enumerate(steps):
            is_last = number == len(steps) - 1
            place = replace(self, callbacks=(*self.callbacks, *links.callbacks)) if is_last else Place()
            errbacks = (*self.errbacks, *links.errbacks)
            behind = steps[number + 1 : number + 1 + FOLLOWING]
            if step["subtask_type"] == "group" and behind:
                places.append(replace(place.before(behind[0]), errbacks=errbacks))
                continue
            chain = tuple(reversed(briefs[number + 1 : number + 1 + FOLLOWING]))
            places.append(replace(place, errbacks=errbacks, chain=chain or place.chain))
        return [place if place.told() else NOWHERE for place in places]


NOWHERE = Place()


def _brief(signature: Mapping[str, Any]) -> dict[str, Any]:
    """A signature as a dict, without its arguments."""
    task_id = getattr(signature, "id", None)
    return {
        "task": signature["task"],
        "args": [],
        "kwargs": {},
        "options": {} if task_id is None else {"task_id": task_id},
        "subtask_type": signature["subtask_type"],
        "immutable": signature["immutable"],
    }
