#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bash examples/quickstart.sh ["question"] [model.gguf]
#
# Installs what is missing (Debian, Ubuntu; as root or with sudo), builds the program `cria` in build/release and asks a chat model the question.
# The model is the second argument, or $CRIA_MODEL, or SmolLM2-135M-Instruct (see fetch_model.sh).
# The answer streams to stdout; what is being done, and the speed, go to stderr.
set -euo pipefail

question=${1:-What is the capital of France?}
model=${2:-${CRIA_MODEL:-}}
[ -z "$model" ] || [ -r "$model" ] || { printf 'cannot read the model %s\n' "$model" >&2; exit 1; }
[ -z "$model" ] || model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*" >&2; }

bash .ci/install g++ cmake ninja-build=ninja libxsimd-dev=xsimd/xsimd.hpp libcli11-dev=CLI/CLI.hpp nlohmann-json3-dev=nlohmann/json.hpp \
  libedit-dev=histedit.h python3

say "building in build/release"
log=$(cmake --preset release -DCRIA_BUILD_TESTS=OFF -DCRIA_BUILD_BENCH=OFF 2>&1) || { printf '%s\n' "$log" >&2; exit 1; }
cmake --build --preset release --target cria_program --parallel "$(nproc 2>/dev/null || echo 2)" >&2

[ -n "$model" ] || model=$(bash examples/fetch_model.sh)
say "model: $model"
say "question: $question"
exec build/release/examples/cria run -m "$model" -p "$question" --temp 0 --stats
