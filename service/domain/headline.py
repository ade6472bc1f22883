"""Headline: one line of plain text, cleaned before anyone sees it."""

import re
import unicodedata

from service.errors import InvalidFieldError

LONGEST = 300
LONG = 100

# Bidirectional embeddings, overrides and isolates could turn a line round and make it say something else
# (Unicode TR36, "Bidirectional Text Spoofing"). LRM, RLM and ALM stay: Arabic typography needs them.
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Controls, line and paragraph separators, lone surrogates, and noncharacters: nothing a line of text can hold.
REFUSED = ("Cc", "Zl", "Zp", "Cs")


def is_refused(character: str) -> bool:
    """Whether no line of text may hold `character`. Noncharacters are not allowed in XML either: a feed would break."""
    point = ord(character)
    return (
        unicodedata.category(character) in REFUSED
        or BIDI.match(character) is not None
        or point & 0xFFFE == 0xFFFE
        or 0xFDD0 <= point <= 0xFDEF
    )


def clean_line(text: str, path: str, *, longest: int = LONGEST) -> str:
    """Return `text` in NFC and trimmed.

    Raises:
        InvalidFieldError: nothing is left that shows, it is longer than `longest` characters (code points after NFC),
            or it holds a control, line-separating or bidirectional-override character.
    """
    cleaned = unicodedata.normalize("NFC", text).strip()
    for index, character in enumerate(cleaned):
        if is_refused(character):
            raise InvalidFieldError(
                f"expected one line of plain text, got the control character U+{ord(character):04X} "
                f"at position {index}",
                path=path,
            )
    if not any(unicodedata.category(character)[0] in "LNPS" for character in cleaned):
        raise InvalidFieldError(f"expected 1 to {longest} characters of text, got none that shows", path=path)
    if len(cleaned) > longest:
        raise InvalidFieldError(f"expected at most {longest} characters, got {len(cleaned)}", path=path)
    return cleaned
