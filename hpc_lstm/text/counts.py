"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 GPU" or "1,024 ranks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
