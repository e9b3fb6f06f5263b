"""For tests of code that enqueues: a store of jobs in memory. Needs neither Flask nor a database."""

from outsourced.testing.backend import MemoryBackend

__all__ = ["MemoryBackend"]
