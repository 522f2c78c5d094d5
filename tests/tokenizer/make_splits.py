#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what pre_tokenizer.test.cpp and unicode.test.cpp expect, made by PyPI's `regex` from the models' own expressions.

    python3 tests/tokenizer/make_splits.py

The expressions are data from the models' tokenizer.json files (GPT-2, StarCoder, Falcon, Llama 3, Qwen 2, o200k_base, Mistral NeMo, DeepSeek Coder and V3,
Seed-Coder).
"""
import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORD = [r"[^\r\n\p{L}\p{N}]?" + w for w in (UPPER + "*" + LOWER + "+", UPPER + "+" + LOWER + "*")]
SLASHES = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES
RULES = {
    "gpt2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "standard": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "deepseek_coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u0800-\u9fa5\uac00-\ud7ff]+", r"\p{N}"],
    "deepseek3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                  r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + SPACES],
    "llama3": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "seed_coder": [LLAMA3.replace("{1,3}", "").replace(r"+[\r\n]*|", "+|")],
    "gpt4o": ["|".join(w + ANY_CASE + "?" for w in WORD) + r"|\p{N}{1,3}" + SLASHES],
    "tekken": ["|".join(WORD) + r"|\p{N}" + SLASHES],
}
TEXTS = [
    "I'm sure he'll say it's what they've DON'T'VE we'd",
    "Hello  world,   3 apples\t4\n\n  end  ",
    "x=12345+6.7890e-10; // ok\n\tif (a<b) {\r\n\r\n}",
    "Größe naïve e\u0301té ÀÉÎ fooBar FOOBar XMLHttp ǅuro",
    "東京は日本の首都です。人口１４００万人",
    "Привет, мир! Γειά σου हिन्दी ไทยะ עברית",
    "a🙂b 🚀👩\u200d👧\ufe0f! ©2024 ½ ٣٤٥٦ ⅣX",
    "...!!! /path/to//file?a=1&b='c' 'S 's \u2019s",
    "tab\u00a0nbsp\u3000wide\u2028line\u0085nel\u200bzero",
    "user_name123abc 007 1,000,000.00",
]
ALPHABET = ("a|B|s|S|t|'|'|r|e|V|e|m|L|l|'|d|D| | |\t|\n|\n|\r|\x0b|\x1c|\x85|\xa0|\u2028|\u3000|\u200b|0|1|9|\xb2|\u0663|\u2163|\xc0|\xe9|\xdf|"
            "\u017f|K|\u01c5|\u02b0|\xaa|\u4e2d|\u65e5|\u043a|\u0418|\u0301|\u094d|\u0e31|\u0e30|\U0001f642|\u200d|\ufe0f|.|,|;|!|-|_|"
            "(|)|<|>|=|+|*|/|\\|\"|$|^|~|`|@|&|\u3002|\u3001|\U0001d400|\u1d2c|\ufffd|\U000e0001|\u0378").split("|")
CLASSES = {"upper": "Lu", "lower": "Ll", "title": "Lt", "modifier": "Lm", "letter": "Lo", "mark": "M", "number": "N", "punctuation": "P", "symbol": "S"}


def split(text, rule):
    words = [text]
    for expression in RULES[rule]:
        cut = []
        for word in words:
            end = 0
            for match in regex.finditer(expression, word):
                cut += [word[end:match.start()], match.group()]
                end = match.end()
            cut.append(word[end:])
        words = [w for w in cut if w]
    return words


def random_texts(n):
    state = 1

    def below(limit):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (state >> 33) % limit

    for _ in range(n):
        width, start = (2, 5, 12, len(ALPHABET))[below(4)], below(len(ALPHABET))
        yield "".join(ALPHABET[(start + below(width)) % len(ALPHABET)] for _ in range(1 + below(20)))


def digest(numbers):
    h = 0xCBF29CE484222325
    for number in numbers:
        h = ((h ^ number) * 0x100000001B3) & (1 << 64) - 1
    return h


def literal(text):
    """A string literal; a long one as several, that are cut behind a space or a bar."""
    out, parts = "", []
    for c in text:
        plain = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
        out += plain.get(c) or (c if " " <= c <= "~" else "\\u%04x" % ord(c) if ord(c) < 0x10000 else "\\U%08x" % ord(c))
    while len(out) > 145:
        cut = max(out.rfind(" ", 0, 145), out.rfind("|", 0, 145)) + 1
        parts.append(out[:cut])
        out = out[cut:]
    return '"' + '"\n      "'.join(parts + [out]) + '"'


if __name__ == "__main__":
    for text in TEXTS:
        print("    {%s,\n     {" % literal(text), end="")
        print(",\n      ".join(literal("|".join(split(text, rule))) for rule in RULES) + "}},")
    for rule in RULES:
        lengths = []
        for text in random_texts(20000):
            lengths += [len(w.encode()) for w in split(text, rule)] + [0]
        print("    0x%016x,  // %s" % (digest(lengths), rule))
    every = [chr(c) for c in range(0x110000)]
    for name, category in CLASSES.items():
        members = [ord(c) for c in every if regex.match(r"\p{%s}" % category, c)]
        print("    {char_class::%s, %d, 0x%016x}," % (name, len(members), digest(members)))
    spaces = [ord(c) for c in every if regex.match(r"\s", c)]
    print("    {char_class::space, %d, 0x%016x}," % (len(spaces), digest(spaces)))
