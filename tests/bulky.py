"""Inputs built to cost time or memory: long, deep, many, packed, claimed. Knows nothing of what reads them.

Every function draws from a random generator how large and of what, so that no two are alike.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import warnings
import zipfile
from typing import Any

import torch

MANY = (300, 3000, 30_000)
CHARACTERS = (
    "\x01",
    "a",
    "\u0301",
    "&",
    "&amp;",
    "\n",
    " ",
    "\ufdfa",
    "灯",
    "\u200b",
    "[",
    "[a",
    "]",
    "Ã©",
    "👩‍🚀",
    "\x85",
)
CHARACTERS += ("[character1]", "[shot", "[ ", "&#", "9", "-", "\t", "ﬃ", "x ", "İ", "ß", '"', "\u202e")


def long_text(rng: random.Random, most: int = 40_000) -> str:
    """One to three runs of a character or a few."""
    size = rng.choice((50, 500, 5000, 19_000, most))
    return "".join((rng.choice(CHARACTERS) * size)[: size // 2] for _ in range(rng.randint(1, 3)))


def toml(rng: random.Random) -> str:
    """Keys of many parts, tables and arrays without end, strings that do not close."""
    n = rng.choice(MANY)
    part = rng.choice(("a", '"a"', "'a'", "a-b", "灯"))
    dotted = rng.choice((".", " . ", ".\t")).join([part] * min(n, 4000))
    return rng.choice(
        (
            f"[{dotted}]\n",
            f"[[{dotted}]]\n" * rng.randint(1, 20),
            "".join(f"{dotted}.b{i} = 1\n" for i in range(rng.randint(1, 20))),
            "x = {" + dotted + " = 1}\n",
            "".join(f"[k{i}]\n" for i in range(n)),
            "[[shots]]\ncaption = 'x'\n" * (n // 10),
            "x = [" + "1,\n" * n + "]",
            "x = " + "[\n" * n,
            "x = " + "{a=" * n,
            'global_caption = """' + rng.choice(('\\"""', "\\\n", '""', "a\n", '"a')) * n,
            f"{'a' * n} = 1\n" * 3,
            f"{chr(34)}{'a' * n}{chr(34)} = 1\n",
            "seed = " + "9" * n,
            "fps = 1" + "0" * n + ".5",
            rng.choice(("\n", " \n", "\r\n", "#\n", "'''a", "a.", "=")) * n,
        )
    )


def yaml(rng: random.Random) -> str:
    """Values without end, anchors upon anchors, numbers of old."""
    n = rng.choice(MANY)
    return rng.choice(
        (
            "shots:\n" + "- a\n" * n,
            "a: [" + rng.choice(("1,", "[],", "{},", "a: b,", "? ,")) * n + "]",
            "{" + "a," * n + "}",
            "".join(f"k{i}: 1\n" for i in range(n)),
            rng.choice(("- ", "? ", "[", "{", "!a ", "&a ", "*a ", "---\n", "%YAML 1.1\n", ":", "- - ")) * n,
            "".join(" " * i + "a:\n" for i in range(min(n, 700))),
            "fps: " + "1:" * n + "1.5",
            "fps: " + rng.choice(("0", "9", "1_", "0x1", "1e")) * n,
            "fps: " + rng.choice(("!!int ", "!!bool ", "!!float ", "!!timestamp ", "!!binary ")) + "a" * (n % 7),
            "a: " + rng.choice(("'", '"', "|\n", ">\n")) + rng.choice(("b\n\n", " b\n", "\\x41", "\n ")) * n,
            "".join(f"- &a{i} b\n" for i in range(n)),
            "a: &a {b: 1}\nc:\n" + " <<: *a\n" * n,
            "? " + "a" * n + "\n: 1",
        )
    )


def scene(rng: random.Random) -> str:
    """A storyboard as JSON, of long or very many captions, characters, names, numbers."""
    n, text = rng.choice(MANY), long_text(rng)
    board: dict[str, Any] = {"global_caption": "A dock.", "shots": [{"caption": "x"}]}
    kind = rng.randrange(9)
    if kind == 0:
        board["global_caption"] = text
    elif kind == 1:
        board["shots"] = [{"caption": text[: rng.choice((1, 40, 40_000))] or "x"}] * rng.choice((1, 3, 60, 2000))
    elif kind == 2:
        board["characters"] = {f"n{i}": f"a [n{i}]" for i in range(n // 10)}
        board["shots"] = [{"caption": "[n1] " * (n // 10)}]
    elif kind == 3:
        board["characters"] = {"character" + "9" * n: "a"}
    elif kind == 4:
        board["global_caption"] = rng.choice(("This scene contains {} shots.", "&#{};", "[character{}]")).format(
            "9" * n
        )
    elif kind == 5:
        board["global_caption"] = " ".join(f"[character{i}]" for i in range(n // 20))
        board["shots"] = [{"caption": " ".join(f"[charcter{i}]" for i in range(n // 20))}]
    elif kind == 6:
        board[rng.choice("abc") * n] = 1
    elif kind == 7:
        return rng.choice(("(", "[", '{"a":', '"', "9", "[1,", "\\u")) * n
    else:
        board = {
            "prompt": "[global caption] a [per shot caption] " + rng.choice(("b [shot cut] ", "b", "[shot cut")) * n
        }
    return json.dumps(board, ensure_ascii=rng.random() < 0.5)


def lines(rng: random.Random) -> bytes:
    """A list of prompts: white space, settings or letters without end."""
    n = rng.choice((1000, 100_000, 2_000_000, 8_000_000))
    piece = rng.choice(
        ("\n", " ", "\r", "\t", "a", " --", " --d", "--d 1 ", "\u2028", "#\n", "x\n", " --n a", "\\", "~/")
    )
    text = piece * (n // len(piece))
    return (rng.choice(("", "x", "x --d 7 ", "#")) + text + rng.choice(("", "x", "--d", " --q"))).encode()


def header(rng: random.Random) -> bytes:
    """A safetensors file of many empty tensors, of long names, or of notes without end."""
    n = rng.choice((*MANY, 100_000))
    pattern = rng.choice(("blocks.{}.x", "blocks.{}.ffn.0.weight", "{}", "lora_unet_blocks_{}_q.lora_down.weight"))
    if rng.random() < 0.15:
        pattern, n = "a{}" + rng.choice((".lora_A", "blocks.", "x", "_")) * 30_000, 3
    table: dict[str, Any] = {
        pattern.format(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(n)
    }
    if rng.random() < 0.3:
        alphas = {f"blocks.{i}.q": 1.0 for i in range(n)}
        table["__metadata__"] = {"lora_adapter_metadata": json.dumps({"transformer.alpha_pattern": alphas})}
    if rng.random() < 0.1:
        table = {"a": {"dtype": "F32", "shape": [1] * n, "data_offsets": [0, 4]}}
    text = json.dumps(table).encode()
    if rng.random() < 0.1:
        text = b"{" + rng.choice((b'"a":[', b'"a":{', b"[")) * n
    return struct.pack("<Q", len(text)) + text


def odd_tensor(rng: random.Random) -> Any:  # noqa: ANN401
    """A tensor that is not plain, or something else."""
    plain = torch.arange(16.0).view(4, 4)
    return rng.choice(
        (
            lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
            lambda: plain.to_sparse(),
            lambda: plain.to_sparse_csr(),
            lambda: torch.empty(4, 4, device="meta"),
            lambda: plain.to(torch.complex64),
            lambda: torch.ones(1).expand(rng.choice((10**6, 10**9, 10**12))),
            lambda: torch._neg_view(plain),
            lambda: torch.as_strided(plain, (2,), (rng.randint(1, 15),)),
            lambda: torch.nn.Parameter(plain),
            lambda: torch.ones(3, dtype=torch.uint16),
            lambda: torch.nested.nested_tensor([plain, plain]),
            lambda: {"a": plain},
            lambda: "text" * rng.choice(MANY),
        )
    )()


def pickled(rng: random.Random) -> bytes:
    """A PyTorch file of odd tensors, or of a pickle that is long, deep or packed."""
    made, n = io.BytesIO(), rng.choice((*MANY, 3_000_000))
    with warnings.catch_warnings(action="ignore"):
        content = {"a": odd_tensor(rng), "b": torch.ones(2)}
        torch.save(content, made, _use_new_zipfile_serialization=rng.random() < 0.7)
    if rng.random() < 0.4 or made.getvalue()[:2] != b"PK":
        return made.getvalue() if rng.random() < 0.8 else b"(" * n
    pieces = (b"(", b"]", b"}", b"h\x00a", b"\x85", b"N", b"K\x01", b"cbuiltins\nbytearray\n", b"\x88", b"(l")
    body = b"\x80\x02]q\x00" + rng.choice(pieces) * n + b"."
    out = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(out, "w", packing) as new:
        for member in old.infolist():
            new.writestr(member.filename, body if member.filename.endswith("/data.pkl") else old.read(member))
        for number in range(rng.choice((0, 0, 0, 1000, 40_000))):
            new.writestr(f"archive/data/{1000 + number}", b"")
    return out.getvalue()


RULES: dict[str, list[dict[str, Any]]] = {
    "normalizer": [
        *(
            {"type": name}
            for name in ("NFC", "NFKD", "NFKC", "Lowercase", "Nmt", "StripAccents", "BertNormalizer", "ByteLevel")
        ),
        *(
            {"type": "Replace", "pattern": pattern, "content": "bb"}
            for pattern in ({"String": "a"}, {"Regex": "(a+)+$"})
        ),
        *({"type": "Prepend", "prepend": text} for text in ("", "▁", "ab" * 100)),
        *(
            {"type": "Precompiled", "precompiled_charsmap": text}
            for text in ("", "AAAA", "BAAAAAEAAAA=", "CAAAAAAAAAAAAAAAYQA=")
        ),
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ],
    "pre_tokenizer": [
        *({"type": name} for name in ("WhitespaceSplit", "Whitespace", "BertPreTokenizer", "UnicodeScripts", "Nope")),
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
        {"type": "Digits", "individual_digits": True},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False},
    ],
    "post_processor": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<pad>", 0]},
    ],
    "decoder": [{"type": "Fuse"}, {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁"}],
}
HOLDER = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}


def tokenizer(rng: random.Random, sound: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer with other rules, many of them, or a model of another kind."""
    rules = copy.deepcopy(sound)
    for slot in rng.sample(sorted(RULES), rng.randint(1, 2)):
        own = [rules[slot]] if rules.get(slot) and rng.random() < 0.7 else []
        chain = [*own, *rng.choices(RULES[slot], k=rng.choice((0, 1, 2, 15, 1000)))]
        rng.shuffle(chain)
        part: Any = {"type": "Sequence", HOLDER[slot]: chain} if rng.random() < 0.7 or not chain else chain[0]
        for _ in range(rng.choice((0, 0, 0, 2, 40))):
            part = {"type": "Sequence", HOLDER[slot]: [part]}
        rules[slot] = part
    rules["model"] = rng.choice((model, lambda _, model: model))(rng, rules["model"])
    return (rng.choice((lengthened, lambda _, rules: rules)))(rng, rules)


def model(rng: random.Random, sound: dict[str, Any]) -> dict[str, Any]:
    """The model of a tokenizer: of another kind, without an unknown token, with long tokens."""
    vocabulary = {token: number for number, (token, _) in enumerate(sound["vocab"])}
    longer = [*sound["vocab"], *(["a" * i, -1.0] for i in range(1, rng.choice((60, 2000))))]
    merges = rng.choice(([], [["a", "b"]], ["a b"], [["s", "▁"]]))
    more = rng.choice(({}, {"dropout": 0.5}, {"unk_token": "<unk>"}, {"byte_fallback": True}, {"unk_token": "nope"}))
    pieces = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 10**9, "unk_token": "<unk>"}
    return rng.choice(
        (
            {"type": "WordPiece", "vocab": vocabulary, **pieces, **more},
            {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>", **more},
            {"type": "BPE", "vocab": vocabulary, "merges": merges, **more},
            sound | {"unk_id": rng.choice((None, 0, 116, 117, -1)), "byte_fallback": rng.random() < 0.5},
            sound | {"vocab": longer},
        )
    )


def lengthened(rng: random.Random, rules: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer whose template repeats, whose end is many tokens, or to which many are added."""
    many, end = rng.choice((2, 300, 30_000)), {"id": "</s>", "type_id": 0}
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": end}],
    }
    template |= {"pair": [], "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}
    added = [{**rules["added_tokens"][0], "id": 200 + i, "content": f"<{i}>"} for i in range(many)]
    return rules | rng.choice(
        (
            {"post_processor": template | {"single": template["single"] * many}},
            {
                "post_processor": template
                | {"special_tokens": {"</s>": {"id": "</s>", "ids": [1] * many, "tokens": ["x"] * many}}}
            },
            {"post_processor": template | {"single": template["single"][::-1]}},
            {"post_processor": template | {"single": [{"Sequence": {"id": "B", "type_id": 0}}]}},
            {"added_tokens": rules["added_tokens"] + added},
        )
    )
