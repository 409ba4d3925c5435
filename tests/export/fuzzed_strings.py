"""Strings that tokenizers and runtimes stumble over, drawn from a seed."""

import random

SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFEFF),
    (0xFF00, 0xFFEF), (0x10000, 0x103FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF), (0xE0001, 0xE01EF), (0xF0000, 0x10FFFF),
]  # fmt: skip
MARKS = [(0x300, 0x36F), (0x483, 0x489), (0x64B, 0x65F), (0x93C, 0x94D), (0x20D0, 0x20F0)]
CONTROLS = [*range(1, 32), 127, *range(0x80, 0xA0), 0x200B, 0x200D, 0x200E, 0x202E, 0xFEFF, 0xFFFD]
WHOLE = [
    "", " ", "  ", "\n", "\t \r\n", "▁", "▁▁a", " ▁ ", "<s>", "</s>", "<unk>", "[CLS] [PAD]",
    "ἈΙ", "a red apple", "A Red  Apple ", "ﬁne ﬀ", "ｆｕｌｌ　ｗｉｄｔｈ",
    "e\u0301e\u0301", "ß ẞ İ ı", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪🇯🇵", "1️⃣",
    "\ufeffbom", "ab\u202ecd", "नमस्ते", "ਸਤ ਸ੍ਰੀ", "สวัสดี",
    "가각", "각", "㍿ ㌀ ½ ⅷ", "\U0010ffff", "a\u0300\u0301\u0302\u0303b", "x" * 3000,
    "word " * 700, "あ" * 1500, "😀" * 700, " " * 400,
]  # fmt: skip
BROKEN = [
    b"\x80", b"\xbf\xbf", b"\xc0\x80", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x28\xa1",
    b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x9f\x98",
    b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff",
    bytes(range(128, 256)), b"good \xff bad", b"\xff" * 300,
]  # fmt: skip


def fuzzed(count: int, seed: int = 0, valid: bool = True) -> list[bytes]:
    """UTF-8 without NUL, which no NumPy string and no C string carries inside.

    Args:
        count: How many strings; the first are those that are written above.
        seed: Of the draw.
        valid: Whether every string is valid UTF-8. Else about half are not.
    """
    draw = random.Random(seed)
    found = [text.encode() for text in WHOLE] + ([] if valid else BROKEN)
    kinds = [_script, _mixed, _words, _marks, _emoji, _controls]
    while len(found) < count:
        text = draw.choice(kinds)(draw).encode()
        if draw.random() < 0.03:
            text *= draw.randint(2, 40)
        if not valid and draw.random() < 0.6:
            text = _broken(draw, text)
        found.append(text)
    return found[:count]


def _letters(draw, ranges, length):
    return "".join(
        " " if draw.random() < 0.15 else chr(draw.randint(*draw.choice(ranges)))
        for _ in range(length)
    )


def _script(draw):
    return _letters(draw, [draw.choice(SCRIPTS)], draw.randint(1, 40))


def _mixed(draw):
    return _letters(draw, SCRIPTS, draw.randint(0, 40))


def _words(draw):
    letters = draw.choice(["etaoinshrdlu", "ETAOINshrdlu ,.'-", "аеинтосрвл", "éèçàùâî", "äöüß"])
    return " ".join(
        "".join(draw.choice(letters) for _ in range(draw.randint(1, 9)))
        for _ in range(draw.randint(1, 12))
    )


def _marks(draw):
    text = ""
    for _ in range(draw.randint(1, 12)):
        text += chr(draw.randint(*draw.choice(SCRIPTS)))
        text += "".join(
            chr(draw.randint(*draw.choice(MARKS))) for _ in range(draw.choice([0, 1, 2, 9]))
        )
    return text


def _emoji(draw):
    parts = [chr(draw.randint(0x1F300, 0x1FAFF)) for _ in range(draw.randint(1, 8))]
    joiner = draw.choice(["", "\u200d", "\ufe0f", "\U0001f3fd", "\u200d\u200d"])
    return joiner.join(parts) + draw.choice(["", "\ufe0f", "\u20e3", "\u200d"])


def _controls(draw):
    return "".join(
        chr(draw.choice(CONTROLS)) if draw.random() < 0.4 else draw.choice("ab cé日")
        for _ in range(draw.randint(1, 25))
    )


def _broken(draw, text):
    """Bytes cut, flipped or put in, none of them NUL."""
    data = bytearray(text or b"a")
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data) + 1)
        how = draw.random()
        if how < 0.4:
            data[place:place] = bytes([draw.randint(128, 255)])
        elif how < 0.7 and place < len(data):
            data[place] = draw.randint(1, 255)
        else:
            del data[place:]
            data = data or bytearray(b"\xc3")
    return bytes(data)


def with_nul(count: int, seed: int = 0) -> list[bytes]:
    """Strings that hold NUL, but not behind, where NumPy keeps none."""
    draw = random.Random(seed)
    found = []
    for text in fuzzed(count, seed, valid=False):
        place = draw.randrange(len(text) + 1)
        found.append(text[:place] + b"\0" * draw.randint(1, 3) + text[place:] + b"x")
    return found
