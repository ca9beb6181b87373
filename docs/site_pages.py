"""A hook of mkdocs: pages and pictures that lie outside of docs/, and links to files that are neither.

README.md becomes the front page, and what benchmarks have drawn lies where it does in the checkout. A link to a file of
the checkout that the site does not have becomes its path in plain text: the site is read beside a checkout, wherever
that is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Files of the checkout, and the pages that they become.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "THIRD_PARTY.md": "third-party.md",
}
PICTURES = "benchmarks/results"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie outside of docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for picture in sorted((ROOT / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"{PICTURES}/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at pages of the site, whatever folder of the checkout the page comes from."""
    sources = {target: source for source, target in PAGES.items()}
    here = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def point(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        text = LINK.sub(point, text)  # a picture may be a link's text
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        uri = PAGES.get(inside, inside.removeprefix("docs/"))
        if uri and files.get_file_from_path(uri) is not None:
            relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
            return f"{picture}[{text}]({relative}{hash_}{anchor})"
        if picture or not (ROOT / inside).exists():
            return match[0]  # mkdocs warns
        named = text.startswith(("`", "!")) or text == inside
        return text if named else f"{text} (`{inside}`)"

    return LINK.sub(point, markdown)
