"""What Velatura says, in the nodes' words: widgets and nodes instead of the command line's options and commands."""

from __future__ import annotations

import re

# In this order: what has a value first, then the names alone. A sentence's own full stop is no part of a value.
WORDS = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r"'velatura fit[^']*'", "Fit Style"),
        (r"--set (\w+)='([^']*)'", r"\1=\2 in settings"),
        (r"--set (\w+=\S*\w)", r"\1 in settings"),
        (r"--loss is\b", "losses are"),
        (r"--loss (\w+(?:=[\d.]*\d)?(?:@[\d.-]*\d)?)", r"\1 in losses"),
        (r"--model (\S*\w)", r"the model \1 in Load Model"),
        (r"--(dtype|device) (\w+)", r"\1 \2 in Load Model"),
        (r"--(colours|size|style-scale) (full|content|style|made|[\d.]*\d)", r"\1=\2 in settings"),
        (r"--style 'text:[^']*'", "the node Style in Words"),
        (r"--loss\b", "losses"),
        (r"--set\b", "settings"),
        (r"--force\b", "the widget replace"),
        (r"--(method|preset|style) (?=\w)", r"the \1 "),
        (r"--([a-z]\w*)", r"\1"),
    )
]


def in_nodes_words(text: str) -> str:
    """A sentence with the nodes' and widgets' names for the command line's.

    >>> in_nodes_words("There is no style 'dusk': fit one with 'velatura fit', or use --dtype fp32.")
    "There is no style 'dusk': fit one with Fit Style, or use dtype fp32 in Load Model."
    """
    for pattern, words in WORDS:
        text = pattern.sub(words, text)
    return re.sub(r"\b(style)-(scale|mask)\b", r"\1_\2", text)
