"""Small damage to bytes, texts and JSON values, drawn from a random generator. Knows nothing of what they mean."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

NUMBERS: list[Any] = [0, -1, 1, 4, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
WORDS = ["", " ", "a", "\x00", "\u202eabc", "\ud800", "e\u0301", "\ufeff", "x" * 5000, "../../etc/passwd", "/dev/zero"]
WORDS += [
    "[shot cut]",
    "[global caption]",
    "[Shot_Cut]",
    "[character1]",
    "&#91;shot cut&#93;",
    "<script>",
    "'\"&",
    "\r\n",
]
WORDS += ["%n%s{0}", "nan", "1e999", "F32", "灯台", "👩‍🚀", "-1", "true", "Infinity"]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [{}], {"": ""}, [0] * 300, {"a": [1, {"b": None}]}]
TOKENS = [b"\x00", b"\xff" * 8, b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\r", b"\xef\xbb\xbf", b"9" * 30, b"-"]
TOKENS += [
    b"[" * 3000,
    b'{"a":' * 2000,
    b"0x" + b"f" * 6000,
    b"9" * 6000,
    b"1e400",
    b"nan",
    b"&a [*a]",
    b"*a",
    b"<<: *a",
]
TOKENS += [b"!!python/object/apply:os.system ['touch ran']", b"a: &a [x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"]
TOKENS += [b"!!binary |", b"---", b"'''", b'"""', b"[[shots]]", b"[shots]", b"\xc3\x28", b"\xed\xa0\x80", b": ", b"? "]

LITERALS = [
    b"0x" + b"f" * 6000,
    b"9" * 400,
    b"-1",
    b"1e400",
    b"nan",
    b".inf",
    b"1_000",
    b"2024-01-01",
    b"true",
    b"~",
    b"",
]


def bomb(levels: int = 9) -> bytes:
    """A short YAML text whose value is of a size with so many digits."""
    lines = [b"characters:\n a0: &a0 [x]"]
    lines += [b" a%d: &a%d [%s]" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, levels + 1)]
    return b"\n".join(lines)


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to six changes: bytes, ranges, tokens, the end; or one number changed into another literal."""
    if rng.random() < 0.2 and (numbers := list(re.finditer(rb"\d+", data))):
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(LITERALS) + data[found.end() :]
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            out[at:at] = out[rng.randrange(len(out) + 1) :][:length]
        elif kind == 4:
            out[at : at + length] = rng.choice(TOKENS)
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def odd_value(rng: random.Random) -> Any:  # noqa: ANN401
    """A value that few would expect."""
    value = copy.deepcopy(rng.choice(rng.choice((NUMBERS, WORDS, OTHERS))))
    if rng.random() < 0.02:
        for _ in range(rng.choice((50, 200))):
            value = [value]
    return value


def damage_value(rng: random.Random, value: Any) -> Any:  # noqa: ANN401
    """One to three changes to a copy of a JSON value: a part replaced, dropped, doubled, renamed or added."""
    out = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        holder, key = _a_place(rng, out)
        kind = rng.randrange(5)
        if kind == 0 and holder is not out:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[str(rng.choice(WORDS))] = holder.pop(key)
        elif kind == 2 and isinstance(holder, dict):
            holder[str(rng.choice(WORDS))] = odd_value(rng)
        elif kind == 3 and isinstance(holder, list) and holder is not out:
            holder.extend(copy.deepcopy(holder[: rng.randint(1, 50)]))
        else:
            holder[key] = odd_value(rng)
    return out[0]


def _a_place(rng: random.Random, root: list[Any]) -> tuple[Any, Any]:
    """A holder and the key or index of one of its parts, anywhere in a value."""
    holder: Any = root
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.75:
        holder = holder[key]
        key = rng.choice(sorted(holder, key=str)) if isinstance(holder, dict) else rng.randrange(len(holder))
    return holder, key


def json_bytes(rng: random.Random, value: Any) -> bytes:  # noqa: ANN401
    """A value as JSON, half of the time with any Unicode as it is, now and then with a key twice."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    except RecursionError:
        text = "[" * 3000
    if rng.random() < 0.05:
        text = text.replace(",", f",{text[1:].partition(',')[0]},", 1)
    return text.encode("utf-8", "surrogatepass")
