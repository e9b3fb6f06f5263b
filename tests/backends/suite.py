"""What every backend promises, each promise told once. A backend's file has the stage they are played on."""

from __future__ import annotations

# ruff: noqa: F403 - a backend's file takes them all, by one import of this module
from tests.backends.topics.adding import *
from tests.backends.topics.cancelling import *
from tests.backends.topics.claiming import *
from tests.backends.topics.enqueueing import *
from tests.backends.topics.following import *
from tests.backends.topics.keeping import *
from tests.backends.topics.limiting import *
from tests.backends.topics.losing import *
from tests.backends.topics.people import *
from tests.backends.topics.repeating import *
from tests.backends.topics.replacing import *
from tests.backends.topics.replacing_again import *
from tests.backends.topics.settling import *
from tests.backends.topics.telling import *
from tests.backends.topics.working import *
