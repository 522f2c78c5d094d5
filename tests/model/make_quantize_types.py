# SPDX-License-Identifier: MIT
"""Writes quantize_types.hpp: which type llama-quantize gives each tensor of small models of many shapes.

    make_quantize_types.py LLAMA_QUANTIZE > quantize_types.hpp
"""

import os
import struct
import subprocess
import sys
import tempfile

TYPES = ("F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS MXFP4_MOE").split()
# Type ids of GGUF -> the letters of the table.
LETTERS = {0: "f", 1: "h", 30: "b", 2: "p", 3: "q", 6: "r", 7: "s", 8: "8", 10: "2", 11: "3", 12: "4", 13: "5", 14: "6", 20: "n", 23: "x", 39: "m"}
# name, layers, dim, ffn, heads, kv heads, experts, tied, fused
SHAPES = [("grouped", 24, 256, 256, 8, 1, 0, False, False), ("tied", 10, 256, 512, 4, 4, 0, True, False), ("large", 80, 256, 256, 8, 2, 0, False, False),
          ("few_experts", 9, 256, 256, 4, 2, 4, False, False), ("experts", 16, 256, 256, 8, 2, 8, False, False),
          ("rows_of_96", 8, 96, 160, 3, 1, 0, False, False), ("rows_of_172", 5, 64, 172, 8, 4, 0, True, False),
          ("fused", 9, 256, 256, 4, 4, 0, False, True)]


def tensors_of(layers, dim, ffn, heads, kv, experts, tied, fused):
    yield "token_embd.weight", (dim, 64)
    yield "output_norm.weight", (dim,)
    if not tied:
        yield "output.weight", (dim, 64)
    kv_dim = dim // heads * kv
    for i in range(layers):
        b = "blk.%d." % i
        yield b + "attn_norm.weight", (dim,)
        if fused:
            yield b + "attn_qkv.weight", (dim, dim + 2 * kv_dim)
        else:
            yield b + "attn_q.weight", (dim, dim)
            yield b + "attn_k.weight", (dim, kv_dim)
            yield b + "attn_v.weight", (dim, kv_dim)
        yield b + "attn_output.weight", (dim, dim)
        yield b + "ffn_norm.weight", (dim,)
        if experts:
            yield b + "ffn_gate_inp.weight", (dim, experts)
        more, end = ((experts,), "_exps.weight") if experts else ((), ".weight")
        yield b + "ffn_gate" + end, (dim, ffn) + more
        yield b + "ffn_up" + end, (dim, ffn) + more
        yield b + "ffn_down" + end, (ffn, dim) + more


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def key(name, kind, value):
    packed = {4: lambda v: struct.pack("<I", v), 6: lambda v: struct.pack("<f", v), 8: text}[kind](value)
    return text(name) + struct.pack("<I", kind) + packed


def write_model(path, layers, dim, ffn, heads, kv, experts, tied, fused):
    keys = [key("general.architecture", 8, "llama")]
    for name, value in (("block_count", layers), ("context_length", 64), ("embedding_length", dim), ("feed_forward_length", ffn),
                        ("attention.head_count", heads), ("attention.head_count_kv", kv), ("vocab_size", 64), ("rope.dimension_count", dim // heads)):
        keys.append(key("llama." + name, 4, value))
    keys.append(key("llama.attention.layer_norm_rms_epsilon", 6, 1e-5))
    if experts:
        keys += [key("llama.expert_count", 4, experts), key("llama.expert_used_count", 4, 2)]
    keys.append(key("tokenizer.ggml.model", 8, "no_vocab"))
    infos, size = b"", 0
    tensors = list(tensors_of(layers, dim, ffn, heads, kv, experts, tied, fused))
    for name, shape in tensors:
        kind = 0 if len(shape) == 1 or "gate_inp" in name else 1
        infos += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", kind, size)
        n = 1
        for d in shape:
            n *= d
        size += (n * (4 if kind == 0 else 2) + 31) // 32 * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32))
        f.truncate(f.tell() + size)


def types_in(path):
    with open(path, "rb") as f:
        data = f.read(1 << 22)
    at = 4

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def string():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            string()
        elif kind == 9:
            of, n = take("IQ")
            for _ in range(n):
                skip(of)
        else:
            at += (1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8)[kind]

    _, n_tensors, n_keys = take("IQQ")
    for _ in range(n_keys):
        string()
        skip(take("I"))
    found = {}
    for _ in range(n_tensors):
        name = string()
        rank = take("I")
        at += 8 * rank
        found[name] = take("IQ")[0]
    return found


def by_kind(types, names):
    """The letters of all layers for each kind of tensor; one letter where they are the same."""
    kinds = {}
    for name in names:
        if "_norm." in name:
            assert types[name] == 0, name
        else:
            kinds.setdefault(name.split(".")[-2], []).append(LETTERS[types[name]])
    return " ".join(kind + "=" + (letters[0] if len(set(letters)) == 1 else "".join(letters)) for kind, letters in kinds.items())


def literal(text):
    """A string literal; a long one as several, that are cut behind a space."""
    parts = []
    while len(text) > 130:
        cut = text.rfind(" ", 0, 130) + 1
        parts.append(text[:cut])
        text = text[cut:]
    return '"' + '"\n       "'.join(parts + [text]) + '"'


def main():
    program = sys.argv[1]
    print("// SPDX-License-Identifier: MIT")
    print("// tests/model/quantize_types.hpp - which type llama-quantize (d32676d, August 2026) gives each tensor: written by make_quantize_types.py.")
    print("#pragma once\n")
    print("namespace cria_test {\n")
    print("/// Models of one shape, and the types that they get: kind=letters, a letter for each layer, or one for all; - where llama-quantize refuses.")
    print("/// Letters: " + ", ".join("%s %d" % (letter, kind) for kind, letter in LETTERS.items()) + " (id in files). Norms stay F32.")
    print("struct quantized_shape {\n  const char* name;\n  unsigned layers, dim, ffn, heads, kv_heads, experts;\n  bool is_tied, is_fused;\n"
          "  const char* types[%d][2];  ///< file type, types\n};\n" % len(TYPES))
    print("inline constexpr quantized_shape quantized_shapes[] = {")
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.gguf"), os.path.join(folder, "out.gguf")
        for name, *shape in SHAPES:
            write_model(source, *shape)
            print('    {"%s", %s, %s,\n     {' % (name, ", ".join(map(str, shape[:6])), ", ".join(str(b).lower() for b in shape[6:])), end="")
            lines = []
            for kind in TYPES:
                done = subprocess.run([program, source, target, kind, "2"], capture_output=True)
                if done.returncode != 0:
                    letters = "-"
                    sys.stderr.write("%s %s: refused: %s\n" % (name, kind, done.stderr.decode(errors="replace").strip().splitlines()[-2:]))
                else:
                    types = types_in(target)
                    letters = by_kind(types, [n for n, _ in tensors_of(*shape)])
                lines.append('{"%s", %s}' % (kind, literal(letters)))
            print(",\n      ".join(lines) + "}},")
    print("};\n")
    print("}  // namespace cria_test")


main()
