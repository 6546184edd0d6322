"""Text from users' files, made fit to be drawn or printed."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return ``text`` on one line: control characters, line ends and lone surrogates become blanks or ``?``.

    Fonts and terminals take them for commands, or fail.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Cs", "Cn"):
        return "?"
    # Formatting characters (Cf) join the signs of many scripts, and stay; those that turn the direction do not.
    return (
        " "
        if kind in ("Cc", "Zl", "Zp") or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        else character
    )
