"""The recipes of docs/deploy.md, taken from there, so that what is tried is what people read."""

from __future__ import annotations

import re

from tests.acceptance.deployment import ROOT

PAGE = ROOT / "docs/deploy.md"


def recipe(language: str, beginning: str) -> str:
    """The one block of code of this language that begins with these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return str(block)


def replace_all(text: str, replacements: dict[str, str]) -> str:
    """The text with each of these replaced; every one must be there."""
    for old, new in replacements.items():
        assert old in text, f"the recipe no longer says {old!r}"
        text = text.replace(old, new)
    return text
