"""Text that others wrote, made safe for where it goes: a terminal, a file, a spreadsheet, Markdown, LaTeX, XML.

Model outputs, file names, task names and a server's answers can hold anything. A terminal obeys control sequences, a spreadsheet runs
formulas, and UTF-8 cannot hold half of a surrogate pair. What would act is shown instead.

>>> visible("\\x1b[2Jgone")
'␛[2Jgone'
>>> cell("=1+1")
"'=1+1"
"""

import html
import re
from typing import Final

#: What nobody sees: zero width, soft hyphens, fillers, direction overrides, invisible operators, tags, variation selectors.
_UNSEEN: Final = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE0E), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFFC)),
    *(*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)
#: Line breaks and tabs stay; every other control character has a picture, or its number, as what cannot be seen has.
_CONTROL: Final[dict[int, int | str]] = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **{code: f"[U+{code:04X}]" for code in (*range(0x80, 0xA0), *_UNSEEN)},
}
#: The two selectors that make a character a picture or a text may follow one; what hides in rows of them may not.
_SELECTORS: Final = re.compile("(?<=[\ufe0e\ufe0f])[\ufe0e\ufe0f]|(?<![^\\s])[\ufe0e\ufe0f]")
_HALVES: Final = re.compile("[\ud800-\udfff]")
#: What XML 1.0 (section 2.2) has no way to write.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: A cell that starts so is run by one spreadsheet or another; white space in front does not stop all of them.
_FORMULA: Final = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
_MARKDOWN: Final = str.maketrans({character: "\\" + character for character in "\\|*_`[]~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
_TEX: Final = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # after \\ it would be an optional argument, and a star would belong to the command
        "]": "{]}",
        "*": "{*}",
    }
)
_LONGEST_LINE: Final = 1000


def encodable(text: str) -> str:
    """Give ``text`` as UTF-8 can hold it: each half of a surrogate pair becomes U+FFFD."""
    return _HALVES.sub("\ufffd", text)


def visible(text: str) -> str:
    """Give ``text`` for a terminal: nothing in it moves the cursor, changes colours or titles, turns its direction around, or is
    invisible.
    """
    return encodable(_SELECTORS.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.translate(_CONTROL)))


def escape(text: str) -> str:
    """Give ``text`` in HTML, as it is; what cannot be seen as in :func:`visible`."""
    return html.escape(visible(text))


def one_line(text: str) -> str:
    """Give ``text`` for one line of a terminal: line breaks shown, and a long middle left out."""
    line = visible(" ".join(part for part in text.split("\n") if part.strip())).replace("\t", " ")
    if len(line) <= _LONGEST_LINE:
        return line
    half = _LONGEST_LINE // 2
    return f"{line[:half]} … {line[-half:]}"


def cell(text: str) -> str:
    """Give ``text`` as a spreadsheet's cell: an apostrophe in front of what would run as a formula."""
    return encodable(f"'{text}" if _FORMULA.match(text) else text)


def markdown(text: str) -> str:
    """Give ``text`` as it is, in one line of Markdown."""
    return visible(" ".join(text.split())).translate(_MARKDOWN)


def file_name(text: str) -> str:
    """Give ``text`` as the name of one file or folder: it stays in its folder, is not hidden, and needs no quotes.

    >>> file_name("../a b"), file_name("..")
    ('_a_b', '_')
    """
    return re.sub(r"[^\w.-]+", "_", encodable(text)).lstrip(".")[:100] or "_"


def tex(text: str) -> str:
    """Give ``text`` as it is, in LaTeX; control characters, which LaTeX refuses, go, and what cannot be seen is shown."""
    bare = "".join(character for character in " ".join(text.split()) if not isinstance(_CONTROL.get(ord(character)), int))
    return visible(bare).translate(_TEX)


def xml(text: str) -> str:
    """Give ``text`` without the characters that no XML file can hold; escaping is the writer's."""
    return _NOT_XML.sub("\ufffd", text)
