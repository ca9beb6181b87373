"""The software that an environment's hpc-lstm brings along: a CycloneDX bill of materials, or a table of licences.

    python tools/sbom.py -o sbom.json              what hpc-lstm and the given extras depend on, as installed
    python tools/sbom.py --licences                a line for each package; exits 1 where one is not known
    python tools/sbom.py --extras mpich,report     the core and these extras; default: the core alone

https://cyclonedx.org/docs/1.5/json/
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "hpc-lstm"
# Sentences by which a licence's text is known, where the package's metadata do not name it.
TEXTS = {
    "Apache License, Version 2.0": "Apache-2.0",
    "Permission is hereby granted, free of charge, to any person": "MIT",
    "Redistribution and use in source and binary forms": "BSD",
}


def dependencies(extras: set[str]) -> list[metadata.Distribution]:
    """The installed distributions that hpc-lstm needs, itself first, the others by name."""
    found: dict[str, metadata.Distribution] = {}
    followed: dict[str, frozenset[str]] = {}  # the extras with which each was looked at
    pending = [(NAME, frozenset(extras))]
    while pending:
        name, wanted = pending.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in followed and wanted <= followed[key]:
            continue
        followed[key] = wanted = wanted | followed.get(key, frozenset())
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform or Python
        for text in found[key].requires or ():
            requirement, _, marker = text.partition(";")
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
            if extra and extra[1] not in wanted:
                continue
            match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
            assert match is not None, text
            more = frozenset(part.strip() for part in (match[2] or "").split(",") if part.strip())
            pending.append((match[1], more))
    own = found.pop(NAME)
    return [own, *(found[key] for key in sorted(found))]


def licence(distribution: metadata.Distribution) -> str:
    """What the package says of its licence, or what its licence's text is known as; "" if neither tells."""
    about = distribution.metadata
    classified = [
        line.rpartition(":: ")[2]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    said = str(about.get("License-Expression") or about.get("License") or "").strip().splitlines()
    named = about.get("License-Expression") or " AND ".join(classified) or (said[0] if said else "")
    return named or _known_text(distribution)


def _known_text(distribution: metadata.Distribution) -> str:
    for path in distribution.files or ():
        if re.match(r"licen[cs]e|copying", path.name, re.IGNORECASE):
            text = " ".join(path.read_text(encoding="utf-8").split())
            return next((name for sentence, name in TEXTS.items() if sentence in text), "")
    return ""


def bill_of_materials(found: list[metadata.Distribution]) -> dict[str, Any]:
    """The distributions as CycloneDX 1.5."""
    own, *others = found
    names = "\n".join(f"{one.name}=={one.version}" for one in found)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same environment has the same bill.
        "serialNumber": f"urn:uuid:{uuid.UUID(hashlib.sha256(names.encode()).hexdigest()[:32])}",
        "version": 1,
        "metadata": {"component": component(own)},
        "components": [component(one) for one in others],
    }


def component(one: metadata.Distribution) -> dict[str, Any]:
    """A distribution as a component."""
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', one.name).lower()}@{one.version}"
    told = licence(one)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": one.name,
        "version": one.version,
        "purl": purl,
        **({"licenses": [{"license": {"name": told}}]} if told else {}),
    }


def main() -> int:
    """Write the bill, or print the licences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--extras", default="", help="extras of hpc-lstm, such as mpich,report")
    parser.add_argument("--licences", action="store_true", help="print a table of licences")
    parser.add_argument("-o", "--output", type=Path, help="file; default: stdout")
    chosen = parser.parse_args()
    found = dependencies({extra for extra in chosen.extras.split(",") if extra})
    if chosen.licences:
        unknown = [one.name for one in found if not licence(one)]
        text = "\n".join(f"{one.name:<31} {one.version:<17} {licence(one) or 'NOT KNOWN'}" for one in found)
    else:
        unknown = []
        text = json.dumps(bill_of_materials(found), indent=2)
    if chosen.output is None:
        print(text)
    else:
        chosen.output.write_text(text + "\n", encoding="utf-8")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
