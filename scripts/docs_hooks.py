"""What the documentation site takes from elsewhere in the repository: model card, licences and changelog as pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CARD = "src/velatura/models/house/weights/README.md"
# Links from pages to files outside docs/, and where the site has them.
PLACES = {f"../{CARD}": "model-card.md", "../CHANGELOG.md": "changelog.md", "../NOTICE": "licences.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand outside docs/."""
    card = re.sub(r"\]\((?:\.\./)+docs/", "](", (ROOT / CARD).read_text())
    licences = (
        "# Licences\n\nVelatura is Apache-2.0. What comes with it and keeps another licence:\n\n"
        f"```text\n{(ROOT / 'NOTICE').read_text()}```\n"
    )
    pages = {
        "model-card.md": card,
        "licences.md": licences,
        "changelog.md": _within_docs((ROOT / "CHANGELOG.md").read_text()),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links out of docs/ to the site's own pages."""
    for place, page in PLACES.items():
        markdown = markdown.replace(f"]({place})", f"]({page})")
    return markdown


def _within_docs(markdown: str) -> str:
    """Links of a file at the repository's root, seen from docs/."""
    return markdown.replace("](docs/", "](")
