"""Numbers as strict scoring reads them: what makes 3.5 another number than 35, or -5 than 5, is a part of the number.

>>> [readable(number_text(each)) for each in ("1,234", "3.5", "-5", "10%", "12:30", "3,5", "1.234,5", "[1][2]", "٣٫٥")]
['1234', '3.5', '-5', '10 percent', '12:30', '3.5', '1234.5', '[1 2]', '3.5']

Marks within a number become private characters, which no cleaning of punctuation takes away and which no word ends at.
"""

import re
import unicodedata
from typing import Final

#: Mark within a number -> the private character that stands for it.
_KEPT: Final = {mark: chr(0xE000 + place) for place, mark in enumerate(".,:/-'_")}
_READ: Final = {kept: mark for mark, kept in _KEPT.items()}
KEPT: Final = frozenset(_READ)
_JOINED: Final = re.compile(f"(?<=\\d)[{_KEPT[':']}{_KEPT['/']}{_KEPT['-']}](?=\\d)")
#: Other spellings of those marks: typographic ones, and those of other scripts.
_SPELLINGS: Final = {
    **dict.fromkeys("\u066b\uff0e\u00b7\u2024", "."),
    **dict.fromkeys("\u066c\uff0c\ufe50", ","),
    **dict.fromkeys("\uff1a\u2236", ":"),
    **dict.fromkeys("\u2044\u2215\uff0f", "/"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\ufe63", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc\u2032\uff07`", "'"),
}
_MARK: Final = "[.,:/'_\\-" + "".join(_SPELLINGS) + "]"
#: What is neither a letter, a digit nor a blank.
_SIGN: Final = "[^\\w\\s\ue000-\ue00f]"
_MINUS: Final = "\\-\u2010\u2011\u2012\u2013\u2212\uff0d\ufe63"
_CURRENCY: Final = "$\u00a2-\u00a5\u20a0-\u20cf\uffe5"
#: Scripts that put no blanks between words: Thai, Lao, Tibetan, Myanmar, Khmer, Han, kana, Bopomofo, Yi.
UNSPACED: Final = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
#: What a sign or a bare decimal point may follow, so that it belongs to the number behind it.
_BEFORE: Final = f"(?<![^\\s(\\[{{=<>~\\u2248\"'\u201c\u2018\u300c\u3001\u3002\uff1a\uff08:,;*{_CURRENCY}{UNSPACED}])"

#: Lines that begin with a dash are a list, if there are several: their dashes are no signs.
_DASHED: Final = re.compile(f"(?m)^[^\\S\\n]*+[{_MINUS}](?=\\d)")
#: Blanks that are written within one number alone.
_NARROW: Final = re.compile("(?<![\\d.,])(?:[1-9]\\d{0,2})(?:[\u00a0\u2007\u2009\u202f]\\d{3})++(?!\\d)")
_RUN: Final = re.compile(f"(?<=\\d){_SIGN}{{2,}}+(?=\\d)")
_FOREIGN: Final = re.compile(f"(?<=\\d)(?!{_MARK}){_SIGN}(?=\\d)")
_NUMBER: Final = re.compile(f"(?<!\\d)\\d++(?:{_MARK}\\d++)++")
_NEGATIVE: Final = re.compile(f"{_BEFORE}[{_MINUS}](?=[{_CURRENCY}]?[.\uff0e]?\\d)")
_BARE_POINT: Final = re.compile(f"(?:{_BEFORE}|(?<={_KEPT['-']}))[.\uff0e](?=\\d)")
_PERCENT: Final = re.compile("(?<=\\d)\\s?(?:[%\uff05\u066a\ufe6a]|per\\s?cent\\b)", re.IGNORECASE)
_PER_MILLE: Final = re.compile("(?<=\\d)\\s?[\u2030\u0609]")
#: Thousands in groups, by the sign that groups them, and a fraction. Of one group behind a point none can tell: it is a fraction.
_GROUPED: Final = tuple(
    re.compile(f"(?P<whole>{whole})(?:{point}(?P<fraction>\\d++)){more}")
    for whole, point, more in (
        ("[1-9]\\d{0,2}(?:,\\d{3})++", "\\.", "?"),
        ("[1-9]\\d?(?:,\\d{2})+,\\d{3}", "\\.", "?"),  # India
        ("[1-9]\\d{0,2}(?:['_]\\d{3})++", "[.,]", "?"),  # Switzerland, programs
        ("[1-9]\\d{0,2}(?:\\.\\d{3})++", ",", ""),
        ("[1-9]\\d{0,2}(?:\\.\\d{3}){2,}+", ",", "?"),
    )
)
_DECIMAL_COMMA: Final = re.compile("\\d{1,3},\\d++|\\d++,\\d{1,2}")


def number_text(text: str) -> str:
    """Write the numbers of ``text`` in one way, their marks as private characters: digits of any script are ASCII, groups are closed up."""
    if not holds_digits(text):
        return text
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)
        text = _NARROW.sub(lambda found: re.sub(r"\s", "", found[0]), text)
    if len(_DASHED.findall(text)) > 1:
        text = _DASHED.sub("", text)
    text = _PER_MILLE.sub(" permille ", _PERCENT.sub(" percent ", text))
    text = _FOREIGN.sub(" ", _RUN.sub(_parted, text))
    text = _NUMBER.sub(lambda found: _closed_up(found[0]), text)
    text = _NEGATIVE.sub(_KEPT["-"], text)
    return _BARE_POINT.sub(f"0{_KEPT['.']}", text)


def apart(text: str) -> str:
    """Part the numbers of :func:`number_text` that ``:``, ``/`` or ``-`` joins: as in a list of numbers, each is one."""
    return _JOINED.sub(lambda found: _READ[found[0]], text)


def holds_digits(text: str) -> bool:
    """Tell whether there is a digit of any script in ``text``."""
    return re.search(r"\d", text) is not None


def is_marked(text: str) -> bool:
    """Tell whether a number in ``text`` is written with more than ASCII digits, or an amount of money with another sign than ``$``."""
    return number_text(text) != text or re.search(f"[{_CURRENCY}]", text.replace("$", "")) is not None


def readable(text: str) -> str:
    """Give :func:`number_text` in characters that can be read."""
    return " ".join("".join(_READ.get(letter, letter) for letter in text).split())


def _parted(found: re.Match[str]) -> str:
    """Several signs between digits are between two numbers, of which the second may have a minus."""
    return " -" if re.fullmatch(f".*[,;(=:\\[][{_MINUS}]", found[0]) else " "


def _closed_up(number: str) -> str:
    pieces = re.split("([:/-])", "".join(_SPELLINGS.get(letter, letter) for letter in number))
    return "".join(_KEPT.get(piece) or _amount(piece) for piece in pieces)


def _amount(piece: str) -> str:
    """One number of a date, a time or a range: without groups, its fraction behind a point; with other commas it is a list."""
    found = next((found for each in _GROUPED if (found := each.fullmatch(piece))), None)
    if found:
        whole = re.sub("[.,'_]", "", found["whole"])
        return whole + (f"{_KEPT['.']}{found['fraction']}" if found["fraction"] else "")
    if _DECIMAL_COMMA.fullmatch(piece):
        return piece.replace(",", _KEPT["."])
    return " ".join("".join(_KEPT.get(letter, letter) for letter in each) for each in piece.split(","))
