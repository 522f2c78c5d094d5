# SPDX-License-Identifier: MIT
"""Reads the source tree as text and fails where it breaks a rule of the design. Every rule is first shown to catch a bad sample."""

import os
import re
import subprocess
import sys

ROOT = os.environ.get("CRIA_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Folder -> rank. A header may include headers of its own folder and of lower ranks, nothing sideways or above.
RANKS = {"core": 0, "isa": 1, "quant": 1, "gguf": 2, "kernels": 2, "kv": 2, "sampling": 2, "nn": 3, "tokenizer": 3, "model": 4,
         "generate": 5, "chat": 6}
TOP = 7  # cria.hpp
ISAS = ("scalar sse4_2 avx2 avx_vnni avx512bw avx512_vnni neon64 neon_dotprod neon_i8mm x86 arm").split()
MAX_LINES = 400
MAX_COLUMNS = 160
ROOT_FILES = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "conanfile.py", "vcpkg.json", "bench", "examples", "include", "tests"}



def read(path, errors="strict"):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors=errors) as file:
        return file.read()


VERSION = "v" + "_".join(re.findall(r"^#define CRIA_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", read("include/cria/core/config.hpp"), re.M))   # v0_1_0

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
COMMENT_OR_LITERAL = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\((?:.*?)\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def code_of(text):
    """The text with comments and literals blanked, lines kept; digit separators survive."""
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text)
    return COMMENT_OR_LITERAL.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def find(pattern, text, what):
    return ["line %d: %s: %s" % (text.count("\n", 0, m.start()) + 1, what, m.group().strip()[:80]) for m in re.finditer(pattern, text, re.M)]


def folder_of(path):
    return path[len("include/cria/"):].rpartition("/")[0].split("/")[0]


def is_isa_file(path):
    """Whether a file is named *.<isa>.hpp and lies where intrinsics may be."""
    parts = os.path.basename(path).split(".")
    return folder_of(path) in ("isa", "kernels") and len(parts) > 2 and parts[-2] in ISAS


def layering(path, text):
    """An include points down the layers, or stays in its folder; every folder has a rank."""
    folder = folder_of(path)
    if folder and folder not in RANKS:
        return ["folder '%s' has no rank" % folder]
    rank = RANKS[folder] if folder else TOP
    bad = []
    for quote, name in INCLUDE.findall(text):
        if quote == '"':
            bad.append('"%s" is included in quotes; write <cria/...>' % name)
        elif name.startswith("cria/"):
            target = folder_of("include/" + name)
            target_rank = RANKS.get(target, TOP)
            if target != folder and target_rank >= rank:
                bad.append("%s (layer %d) includes %s (layer %d)" % (folder or "cria.hpp", rank, name, target_rank))
    return bad


def simd_includes(path, text):
    """xsimd is included in isa/ and kernels/ only, the compilers' intrinsics in *.<isa>.hpp there only."""
    bad = []
    for _, name in INCLUDE.findall(text):
        if name.startswith("xsimd") and folder_of(path) not in ("isa", "kernels"):
            bad.append("<%s> outside isa/ and kernels/" % name)
        if re.fullmatch(r"\w+intrin\.h|arm_\w+\.h", name) and not is_isa_file(path):
            bad.append("<%s> outside isa/ and kernels/ *.<isa>.hpp" % name)
    return bad


def intrinsics(path, text):
    """Intrinsic functions and register types appear in *.<isa>.hpp only."""
    if is_isa_file(path):
        return []
    return find(r"\b_mm\d*_\w+|\b__m(128|256|512)\w*|\b(float|u?int)(8|16|32|64)x\d+_t\b", code_of(text), "intrinsic outside *.<isa>.hpp")


def feature_macros(path, text):
    """Only core/config.hpp asks the compiler for instruction sets; only it and isa/ ask for the processor family."""
    if path == "include/cria/core/config.hpp":
        return []
    bad = find(r"\b__(AVX|SSE|SSSE|FMA__|F16C__|BMI|ARM_FEATURE|ARM_NEON)\w*", code_of(text), "instruction-set macro outside core/config.hpp")
    if folder_of(path) != "isa":
        bad += find(r"\b(__x86_64__|__i386__|__aarch64__|_M_X64|_M_IX86|_M_ARM64)\b", code_of(text), "processor macro outside core/config.hpp and isa/")
    return bad


def size(path, text):
    """A header has at most MAX_LINES lines."""
    n = text.count("\n")
    return ["%d lines, more than %d" % (n, MAX_LINES)] if n > MAX_LINES else []


def width(path, text):
    """A line has at most MAX_COLUMNS characters."""
    return ["line %d: %d columns, more than %d" % (n, len(line), MAX_COLUMNS) for n, line in enumerate(text.split("\n"), 1) if len(line) > MAX_COLUMNS]


def heading(path, text):
    """A header starts with its license, its path and what it is, and is guarded by #pragma once."""
    name = path[len("include/cria/"):]
    lines = text.split("\n")
    bad = []
    if lines[0] != "// SPDX-License-Identifier: MIT":
        bad.append("line 1 is not the SPDX line")
    if len(lines) < 2 or not re.match(r"// (cria/)?%s - \S" % re.escape(name), lines[1]):
        bad.append("line 2 does not begin '// %s - '" % name)
    if not re.search(r"^#pragma once$", text, re.M):
        bad.append("no #pragma once")
    return bad


def behaviour(path, text):
    """The library never prints, exits, aborts or reads the environment."""
    code = code_of(text)
    bad = find(r"\bstd::(cout|cerr|clog|wcout|wcerr)\b", code, "prints")
    bad += find(r"^[ \t]*#[ \t]*include[ \t]*<(iostream|print)>", text, "prints")
    bad += find(r"(?<![\w.>])(?:std::)?\b(printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|putc|fputc|perror|syslog|exit|_exit|_Exit|quick_exit|abort|"
                r"getenv|secure_getenv|setenv|putenv|system|signal|raise)[ \t]*\(", code, "prints, exits or reads the environment")
    return bad


def mutable_state(path, text):
    """No variable outlives a call unless it is constant."""
    return find(r"^[ \t]*(?:(?:inline|static|thread_local|extern|constinit)[ \t]+)+"
                r"(?!const\b|constexpr\b|consteval\b|namespace\b|inline\b|static\b|constinit\b|thread_local\b|using\b|class\b|struct\b|template\b|friend\b)"
                r"[A-Za-z_][\w:<>,\t *&]*?[ \t*&>]\w+(?:\[[^\]]*\])*[ \t]*(?:=(?!=)|;|\{)", code_of(text), "mutable state")


def macros(path, text):
    """What a host sees of macros is the list in core/config.hpp: nothing without the prefix, nothing from elsewhere but CRIA_TRY and CRIA_CHECK; and
    in the unit that holds the definitions CRIA_COMPILE and what lists the kernels."""
    allowed = {"include/cria/core/config.hpp": r"CRIA_\w+", "include/cria/core/result.hpp": r"CRIA_(TRY|CHECK)",
               "include/cria/compile.hpp": r"CRIA_COMPILE", "include/cria/kernels/registry.hpp": r"CRIA_(DECLARE|ADDRESS_OF)_TABLE"}.get(path, r"(?!)")
    return find(r"^[ \t]*#[ \t]*define[ \t]+(?!(?:%s|NOMINMAX|WIN32_LEAN_AND_MEAN)\b)\w+" % allowed, code_of(text), "macro that is not in the list")


def unfinished(path, text):
    """A mark of unfinished work names its issue."""
    return find(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b(?!\(#\d+\))", text, "mark without an issue number")


def language(path, text):
    """Only what every supported compiler has."""
    code = code_of(text)
    return (find(r"\bstd::(views|source_location|format|expected)\b|\b_Float16\b", code, "not in every supported compiler")
            + find(r"\b(near|far|small|interface)\b", code, "a macro in windows.h")
            + find(r"\busing[ \t]+namespace\b", code, "using namespace in a header"))


def versioned(path, text):
    """Everything lives in the inline namespace of the version that config.hpp states, what has C linkage in its name."""
    return (find(r"^namespace[ \t]+cria\b(?!::inline %s\b)[\w: \t]*\{" % VERSION, code_of(text), "namespace without ::inline " + VERSION)
            + find(r"\bcria_(?!%s_)v\d\w*" % VERSION, code_of(text), "a name of another version than " + VERSION))


def documented(path, text):
    """A type that hosts see has a /// comment. That of the header's own name is described by the block at the top."""
    own = os.path.basename(path)[:-len(".hpp")]
    lines = text.split("\n")
    is_public, bad = False, []
    for n, line in enumerate(lines):
        namespace = re.match(r"namespace cria::inline \w+((?:::\w+)*) \{$", line)
        if namespace or line.startswith("}  // namespace"):
            is_public = bool(namespace) and namespace.group(1) in ("", "::gguf")
        if line == "namespace detail {":
            is_public = False
        if line == "}  // namespace detail":
            is_public = True
        declared = re.match(r"(?:class|struct|enum class) (?:\[\[nodiscard\]\] )?(\w+)(?: final)?(?: : .*)? \{", line)
        if is_public and declared and declared.group(1) not in (own, "basic_" + own):
            before = n - 1
            while re.match(r"template |  requires", lines[before]):
                before -= 1
            if not lines[before].startswith("///"):
                bad.append("line %d: %s has no comment" % (n + 1, declared.group(1)))
    return bad


HEADER_RULES = [layering, simd_includes, intrinsics, feature_macros, size, width, heading, behaviour, mutable_state, macros, language, versioned, documented]

# rule, path of the sample, its text: each must be caught.
BAD = [
    (layering, "include/cria/core/a.hpp", "#include <cria/quant/q4_0.hpp>\n"),
    (layering, "include/cria/isa/a.hpp", "#include <cria/quant/q4_0.hpp>\n"),
    (layering, "include/cria/quant/a.hpp", "  #  include <cria/kernels/gemm.hpp>\n"),
    (layering, "include/cria/tokenizer/a.hpp", "#include <cria/nn/linear.hpp>\n"),
    (layering, "include/cria/generate/a.hpp", "#include <cria/chat/conversation.hpp>\n"),
    (layering, "include/cria/chat/a.hpp", "#include <cria/cria.hpp>\n"),
    (layering, "include/cria/core/a.hpp", '#include "result.hpp"\n'),
    (layering, "include/cria/util/a.hpp", "int x();\n"),
    (simd_includes, "include/cria/nn/a.hpp", "#include <xsimd/xsimd.hpp>\n"),
    (simd_includes, "include/cria/kernels/gemm.hpp", "#include <immintrin.h>\n"),
    (simd_includes, "include/cria/core/gemm.avx2.hpp", "#include <immintrin.h>\n"),
    (simd_includes, "include/cria/kernels/gemm.q4_0.hpp", "#include <arm_neon.h>\n"),
    (intrinsics, "include/cria/kernels/gemm.hpp", "auto x = _mm256_setzero_ps();\n"),
    (intrinsics, "include/cria/nn/a.hpp", "__m512i x;\n"),
    (intrinsics, "include/cria/nn/a.hpp", "float32x4_t x;\n"),
    (feature_macros, "include/cria/kernels/gemm.avx2.hpp", "#if defined(__AVX2__)\n"),
    (feature_macros, "include/cria/nn/a.hpp", "#ifdef __ARM_FEATURE_DOTPROD\n"),
    (feature_macros, "include/cria/core/a.hpp", "#ifdef __x86_64__\n"),
    (size, "include/cria/core/a.hpp", "\n" * (MAX_LINES + 1)),
    (width, "include/cria/core/a.hpp", "// " + "x" * (MAX_COLUMNS - 2) + "\n"),
    (heading, "include/cria/core/a.hpp", "#pragma once\n// core/a.hpp - x\n"),
    (heading, "include/cria/core/a.hpp", "// SPDX-License-Identifier: MIT\n// core/b.hpp - x\n#pragma once\n"),
    (heading, "include/cria/core/a.hpp", "// SPDX-License-Identifier: MIT\n// core/a.hpp - x\n"),
    (behaviour, "include/cria/core/a.hpp", "void f() { std::cerr << 1; }\n"),
    (behaviour, "include/cria/core/a.hpp", "#include <iostream>\n"),
    (behaviour, "include/cria/core/a.hpp", "void f() { std::printf(x); }\n"),
    (behaviour, "include/cria/core/a.hpp", "void f() { fputs (x, y); }\n"),
    (behaviour, "include/cria/core/a.hpp", "auto s = 'x'; void f() { abort(); }\n"),
    (behaviour, "include/cria/core/a.hpp", "auto s = 1'000; void f() { std::exit(1); } auto t = 2'000;\n"),
    (behaviour, "include/cria/core/a.hpp", "auto p = ::getenv(x);\n"),
    (mutable_state, "include/cria/core/a.hpp", "inline int counter = 0;\n"),
    (mutable_state, "include/cria/core/a.hpp", "void f() {\n  static std::vector<int> cache;\n}\n"),
    (mutable_state, "include/cria/core/a.hpp", "inline thread_local int* p{};\n"),
    (mutable_state, "include/cria/core/a.hpp", "static float table[256];\n"),
    (macros, "include/cria/core/config.hpp", "#define ALWAYS_INLINE\n"),
    (macros, "include/cria/core/a.hpp", "#define CRIA_A 1\n"),
    (macros, "include/cria/core/result.hpp", "#  define CRIA_TRY_AGAIN(x) x\n"),
    (unfinished, "tests/a.cpp", "// TO" "DO: later\n"),
    (unfinished, "include/cria/core/a.hpp", "// FIX" "ME\n"),
    (language, "include/cria/core/a.hpp", "std::format(x);\n"),
    (language, "include/cria/core/a.hpp", "using namespace std;\n"),
    (language, "include/cria/core/a.hpp", "const double near = 1;\n"),
    (versioned, "include/cria/core/a.hpp", "namespace cria {\n"),
    (versioned, "include/cria/core/a.hpp", "namespace cria::gguf {\n"),
    (versioned, "include/cria/core/a.hpp", "namespace cria::inline v0 {\n"),
    (versioned, "include/cria/core/a.hpp", "namespace cria::inline %s0 {\n" % VERSION),
    (versioned, "include/cria/kernels/a.hpp", "extern const int cria_v0_kernels_avx2;\n"),
    (documented, "include/cria/core/a.hpp", "namespace cria::inline v0 {\n\nstruct b {\n"),
    (documented, "include/cria/gguf/a.hpp", "namespace cria::inline v0::gguf {\n\ntemplate <class T>\nclass b : c {\n"),
    (documented, "include/cria/core/a.hpp", "namespace cria::inline v0 {\nnamespace detail {\n}  // namespace detail\n\nenum class b : int {\n"),
]

# rule, path, text: none may be caught.
GOOD = [
    (layering, "include/cria/chat/a.hpp", "#include <cria/generate/session.hpp>\n#include <cria/chat/b.hpp>\n#include <vector>\n"),
    (layering, "include/cria/cria.hpp", "#include <cria/chat/a.hpp>\n#include <cria/core/result.hpp>\n"),
    (simd_includes, "include/cria/kernels/gemm.q4_0.avx2.hpp", "#include <immintrin.h>\n"),
    (simd_includes, "include/cria/isa/vec.hpp", "#include <xsimd/xsimd.hpp>\n"),
    (behaviour, "include/cria/core/a.hpp", '// std::cout << "x"\n/* abort(); */ auto s = "printf(";\nint n = snprintf(b, 1, "x"); file.exit(); p->abort();\n'),
    (mutable_state, "include/cria/core/a.hpp", "inline constexpr int a = 1;\nstatic const float t[2] = {1, 2};\ninline namespace v1 {\nstatic_assert(true);\n"
     "inline int f() { return 1; }\nstatic inline result<int> g(int x = 1) {\n  static constexpr int k = 1;\n"
     "  CRIA_ALWAYS_INLINE static float h() noexcept {\n"),
    (macros, "include/cria/core/config.hpp", "#define CRIA_A 1\n"),
    (macros, "include/cria/core/result.hpp", "#define CRIA_TRY(x) x\n"),
    (macros, "include/cria/core/a.hpp", "#define NOMINMAX\n"),
    (unfinished, "tests/a.cpp", "// TO" "DO(#12): later\n"),
    (documented, "include/cria/core/a.hpp", "namespace cria::inline v0 {\nclass a {\n\n/// B.\ntemplate <class T>\nstruct b {\n\n"
     "namespace detail {\nstruct c {\n"),
    (documented, "include/cria/nn/a.hpp", "namespace cria::inline v0::nn {\nstruct b {\n"),
    (versioned, "include/cria/core/a.hpp", "namespace cria::inline %s::gguf {\n}  // namespace cria::inline %s::gguf\n" % (VERSION, VERSION)),
]


def tracked_files():
    """The files of the commit, or of the folder where there is no repository (a release archive)."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True)
        files = [f for f in out.stdout.decode().split("\0") if f and os.path.exists(os.path.join(ROOT, f))]
        if files:
            return files
    except (OSError, subprocess.CalledProcessError):
        pass
    files = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in (".git", "build", "__pycache__")]
        files += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
    return files


def uncompiled(texts):
    """The headers whose definitions would be in no unit where CRIA_SEPARATE_COMPILATION is defined: compile.hpp does not reach them."""
    reached, left = set(), ["include/cria/compile.hpp"]
    while left:
        path = left.pop()
        if path not in reached:
            reached.add(path)
            left += ["include/" + name for _, name in INCLUDE.findall(texts.get(path, "")) if name.startswith("cria/")]
    return sorted(p for p, text in texts.items() if re.search(r"^#if CRIA_HAS_DEFINITIONS", text, re.M) and p not in reached)


def top_level(files):
    """The root holds what the design lists and dotfiles."""
    return sorted({f.split("/")[0] for f in files if f.split("/")[0] not in ROOT_FILES and not f.startswith(".")})


def releases(changelog, config):
    """The newest release that the changelog names is the version in core/config.hpp; versions fall, and the public macros are all defined."""
    version = ".".join(re.search(r"^#define CRIA_VERSION_%s (\d+)$" % part, config, re.M).group(1) for part in ("MAJOR", "MINOR", "PATCH"))
    named = re.findall(r"^## (\d+\.\d+\.\d+)$", changelog, re.M)
    bad = [] if named[:1] == [version] else ["the newest release is %s, the version %s" % (named[:1], version)]
    if named != sorted(set(named), key=lambda v: [int(n) for n in v.split(".")], reverse=True):
        bad.append("releases are not in order: %s" % named)
    unknown = set(re.findall(r"`(CRIA_\w+)`", changelog)) - set(re.findall(r"\b(CRIA_\w+)\b", config))
    return bad + ["macro %s is promised, but not in core/config.hpp" % name for name in sorted(unknown)]


def supported(readme, architectures, pre_tokenizers):
    """The README names the architectures of the table and counts the names of pre-tokenizers."""
    table = set(re.findall(r'architecture\{id::\w+, "([^"]+)"', architectures))
    said = re.search(r"\*\*Architectures:\*\*(.*?)That includes", readme, re.S)
    named = set(re.findall(r"`([^`]+)`", said.group(1))) if said else set()
    bad = ["the README and the table of architectures differ in %s" % ", ".join(sorted(table ^ named))] if table ^ named or not table else []
    n = len(re.findall(r'^    \{"[^"]+", word_rule::', pre_tokenizers, re.M))
    return bad + ([] if " %d names of pre-tokenizers" % n in readme else ["the README does not say that there are %d names of pre-tokenizers" % n])


def self_test():
    failures = ["%s does not catch: %r" % (rule.__name__, text[:80]) for rule, path, text in BAD if not rule(path, text)]
    failures += ["%s catches by mistake: %s" % (rule.__name__, hit) for rule, path, text in GOOD for hit in rule(path, text)]
    if top_level(["README.md", ".gitignore", "src/a.cpp", "a.sh", "include/b"]) != ["a.sh", "src"]:
        failures.append("top_level does not catch src/ and a.sh")
    defines = "#if CRIA_HAS_DEFINITIONS\n"
    tree = {"include/cria/compile.hpp": "#include <cria/a.hpp>\n", "include/cria/a.hpp": defines, "include/cria/b.hpp": defines}
    if uncompiled(tree) != ["include/cria/b.hpp"]:
        failures.append("uncompiled does not catch b.hpp")
    config = "#define CRIA_VERSION_MAJOR 1\n#define CRIA_VERSION_MINOR 2\n#define CRIA_VERSION_PATCH 10\n"
    wrong = ("", "## 1.2.9\n", "## 1.2.10\n## 1.3.0\n", "`CRIA_X`\n## 1.2.10\n")
    if releases("## 1.2.10\n## 1.2.9\n", config) or [len(releases(changelog, config)) for changelog in wrong] != [1] * len(wrong):
        failures.append("releases does not catch a version, order or macro that is wrong")
    readme = "**Architectures:** `a` (A), `b`. That includes `c`. 1 names of pre-tokenizers"
    rows, names = 'architecture{id::x, "%s", y}', '    {"n", word_rule::r},\n'
    trials = [(readme, "a b", names), (readme, "a", names), (readme, "a b c", names), (readme, "a b", names * 2), ("", "", "")]
    if [len(supported(r, " ".join(rows % a for a in table.split()), n)) for r, table, n in trials] != [0, 1, 1, 1, 2]:
        failures.append("supported does not catch an architecture or a number that the README lacks")
    return failures


def main():
    failures = self_test()
    files = tracked_files()
    headers = [f for f in files if f.startswith("include/")]
    texts = {}
    for path in headers:
        text = texts[path] = read(path)
        if not path.startswith("include/cria/") or not path.endswith(".hpp"):
            failures.append("%s: only include/cria/**.hpp belongs there" % path)
            continue
        failures += ["%s: %s: %s" % (path, rule.__name__, hit) for rule in HEADER_RULES for hit in rule(path, text)]
    for path in files:
        if path.endswith((".hpp", ".cpp", ".py", ".sh", ".txt", ".cmake", ".md")):
            text = read(path, "replace")
            failures += ["%s: %s" % (path, hit) for hit in unfinished(path, text)]
            if path not in texts and not path.endswith(".md"):
                failures += ["%s: %s" % (path, hit) for hit in width(path, text)]
    failures += ["%s: compile.hpp does not reach it, so its definitions are in no unit of cria::dispatch" % path for path in uncompiled(texts)]
    failures += ["top level: '%s' is not part of the design" % name for name in top_level(files)]
    failures += ["releases: %s" % hit for hit in releases(read(".github/CHANGELOG.md"), read("include/cria/core/config.hpp"))]
    failures += ["supported: %s" % hit
                 for hit in supported(read("README.md"), texts["include/cria/model/architecture.hpp"], texts["include/cria/tokenizer/pre_tokenizer.hpp"])]
    if not headers:
        failures.append("no headers found")
    for failure in failures:
        print(failure)
    print("%d headers, %d rules with %d bad samples, %d violations" % (len(headers), len(HEADER_RULES) + 5, len(BAD) + 10, len(failures)))
    lines = {}
    for path in headers:
        lines[folder_of(path) or "."] = lines.get(folder_of(path) or ".", 0) + texts[path].count("\n")
    print("lines:", ", ".join("%s %d" % item for item in sorted(lines.items(), key=lambda item: RANKS.get(item[0], TOP))), "total", sum(lines.values()))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
