"""The seed of a run: at random, or TEST_SEED to repeat the order of one that failed."""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("TEST_SEED") or random.randrange(10**6))
