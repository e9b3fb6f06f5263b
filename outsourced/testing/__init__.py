"""For tests of code that enqueues."""
