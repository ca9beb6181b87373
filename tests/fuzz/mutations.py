"""Changes to files, each by a random generator of its own, so that one number tells an example."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

# Values that readers are not prepared for.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan")),
    *(
        float("inf"),
        "",
        "x",
        "\x1b[31mred",
        "\u202egnp.exe",
        "a\nb",
        "9" * 5000,
        "\ud800",
        [],
        [1],
        {},
        {"a": 1},
    ),
    *([[]] * 3, "../../etc/passwd", "2024-13-45", "1e999", "\0"),
)
ODD_WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "0",
        "99999999999999999999",
        '""',
        '"x"',
        "[]",
        "{}",
        "true",
        "1979-05-27",
    ),
    *(
        '"\\u0000"',
        '"\\u001b[31m"',
        "[[[[]]]]",
        "0x7fffffffffffffff",
        "1e-320",
        "=",
        "[",
        "]",
        '"',
        "'''",
        "#",
        "\x00",
        "\x1b",
    ),
)
ODD_NUMBERS = (0, 1, 0xFF, 0x7F, 0x80)


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to three changes of bits, bytes and pieces."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not content:
            break
        place, length = rng.randrange(len(content)), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(8)
        if kind <= 2:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 3:
            content[place : place + length] = bytes(rng.choice(ODD_NUMBERS) for _ in range(length))
        elif kind == 4:
            content[place : place + length] = rng.randbytes(length)
        elif kind == 5:
            del content[place : place + length]
        elif kind == 6:
            other = rng.randrange(len(content))
            content[place:place] = content[other : other + length]
        else:
            del content[place:]
    return bytes(content)


def of_members(data: bytes, rng: random.Random) -> bytes:
    """Changes inside of one file of a ZIP whose checksums are right, or of the ZIP itself."""
    if rng.random() < 0.1:
        return of_bytes(data, rng)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(changed, "w") as after:
        names = before.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = before.read(name)
            if name == chosen:
                content = (of_json if name.endswith(".json") else of_bytes)(content, rng)
            after.writestr(name, content)
    return changed.getvalue()


def of_words(data: bytes, rng: random.Random) -> bytes:
    """Lines and words of a text that are dropped, repeated, moved or replaced; or bytes."""
    if rng.random() < 0.2:
        return of_bytes(data, rng)
    lines = data.decode(errors="surrogateescape").splitlines(keepends=True) or [""]
    for _ in range(rng.randint(1, 3)):
        place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(5)
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(other, lines[place])
        elif kind == 2:
            lines[place], lines[other] = lines[other], lines[place]
        else:
            words = lines[place].rstrip("\n").split(" ")
            words[rng.randrange(len(words))] = rng.choice(ODD_WORDS)
            lines[place] = " ".join(words) + "\n"
    return "".join(lines).encode(errors="surrogateescape")


def of_json(data: bytes, rng: random.Random) -> bytes:
    """Values of a JSON document, or of one of several lines, that are replaced, dropped or added; or bytes."""
    if rng.random() < 0.2:
        return of_words(data, rng)
    lines = data.decode().splitlines()
    whole = data.decode() if data.lstrip().startswith(b"{\n") else None
    place = rng.randrange(len(lines))
    tree = json.loads(whole if whole is not None else lines[place])
    for _ in range(rng.randint(1, 3)):
        tree = _changed(tree, rng)
    text = _dumped(tree)
    if whole is None:
        lines[place] = text
        text = "\n".join(lines) + "\n"
    return text.encode(errors="surrogatepass")


def _dumped(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False)


def _changed(tree: Any, rng: random.Random) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        kind = rng.randrange(10)
        if kind == 0:
            return {name: value for name, value in tree.items() if name != key}
        if kind == 1:
            return {**tree, rng.choice(("x", "", "\x1b[0m", "__class__")): rng.choice(ODD_VALUES)}
        return {**tree, key: _changed(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        place = rng.randrange(len(tree))
        if rng.random() < 0.2:
            return tree[:place] + tree[place + 1 :]
        return [*tree[:place], _changed(tree[place], rng), *tree[place + 1 :]]
    return rng.choice(ODD_VALUES)
