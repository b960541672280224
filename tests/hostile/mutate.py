"""Damage to bytes, texts and JSON, drawn by a generator."""

import copy
import json
import random

HUGE = int("9" * 401)
ODD = (
    None,
    True,
    -1,
    0,
    1,
    255,
    256,
    2**31,
    2**63,
    -(2**63),
    HUGE,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "nan",
    "-inf",
    "1e999",
    "a\0b",
    "a\nb",
    "../x",
    "/etc/passwd",
    "x" * 5000,
    "\ud800",
    "ü",
    "rgb+rgb",
    [],
    {},
    [[]],
    [None],
    {"": None},
    "${x}",
    "!!python/object/apply:os.getcwd []",
    [1] * 500,
    "1" * 5000,
    {"class_path": "os.getcwd"},
)
TOKENS = (
    b"[" * 3000,
    b"{a: " * 300,
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"9" * 401,
    b"9" * 5000,
    b"\0",
    b"\xff\xfe",
    b"\r\n",
    b"&a [*a]",
    b"*b",
    b"!!binary x",
    b"!!python/name:os.system",
    b"2020-13-45",
    b"0b_",
    b"- ",
    b": ",
    b'"',
    b"'",
    b",",
    b"1e999",
    b"<<: *a",
    b"? ",
    b"\t",
    b"\xc3\x28",
    b"99999999999999999999",
    b"%",
    b"|\n",
    b"#",
    b"\xef\xbb\xbf",
    b"0x_",
    b"---\n",
    b"...\n",
    b"+",
    b"x" * 3000,
)
WORDS = (0, 1, 0xFF, 0x7F, 0x80, 0xFFFF, 0x7FFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFFFFFFFFFF)


def bytes_of(rng: random.Random, content: bytes) -> bytes:
    """Bytes with a few pieces changed, cut, doubled, blanked or replaced by telling numbers."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        # heads and tails hold what the rest is found by
        at = rng.choice(
            (rng.randrange(len(out)), rng.randrange(min(len(out), 512)), max(0, len(out) - rng.randrange(1, 400)))
        )
        at, length = min(at, len(out) - 1), rng.choice((1, 2, 4, 8, 64))
        kind = rng.randrange(7)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            del out[at : at + rng.choice((length, length, len(out)))]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            out[at : at + length] = bytes(length)
        elif kind == 5:
            size = rng.choice((2, 4, 8))
            out[at : at + size] = (rng.choice(WORDS) & (1 << 8 * size) - 1).to_bytes(
                size, rng.choice(("little", "big"))
            )
        else:
            out[at : at + length] = rng.randbytes(length)
    return bytes(out)


def text_of(rng: random.Random, content: bytes) -> bytes:
    """A text with words replaced, inserted, lines swapped or doubled; now and then any bytes changed."""
    if rng.random() < 0.2:
        return bytes_of(rng, content)
    lines = content.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        words = lines[at].split(b" ")
        which = rng.randrange(len(words))
        kind = rng.randrange(6)
        if kind == 0:
            words[which] = rng.choice(TOKENS)
        elif kind == 1:
            words.insert(which, rng.choice(TOKENS))
        elif kind == 2:
            parts = words[which].split(b",")
            parts[rng.randrange(len(parts))] = rng.choice(TOKENS)
            words[which] = b",".join(parts)
        elif kind == 3:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 4 and len(lines) > 1:
            del lines[at]
        else:
            cut = rng.randrange(len(words[which]) + 1)
            words[which] = words[which][:cut] + rng.choice(TOKENS) + words[which][cut:]
        if kind not in (3, 4):
            lines[at] = b" ".join(words)
    return b"\n".join(lines)


def tree_of(rng: random.Random, content):
    """Mappings and lists with a few values replaced, removed or added, at any depth."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        if not places:
            return rng.choice(ODD)
        holder, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("x", "", "a\0b", "1", "x" * 300))] = rng.choice(ODD)
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return content


def json_of(rng: random.Random, content: bytes) -> bytes:
    """A JSON text with values changed, or any bytes."""
    if rng.random() < 0.25:
        return text_of(rng, content)
    return json.dumps(tree_of(rng, json.loads(content))).encode(errors="replace")


def _places(content):
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(pairs):
        yield content, key
        yield from _places(value)
