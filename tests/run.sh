#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bash tests/run.sh [ctest arguments]
#
# Installs what is missing (Debian, Ubuntu; as root or with sudo), builds everything in build/release and runs every test through ctest.
# Tests whose reference data or model is absent say SKIPPED and pass; CRIA_TEST_DATA names the data's folder (default: ../shared).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*" >&2; }
jobs=$(nproc 2>/dev/null || echo 2)

bash .ci/install g++ cmake ninja-build=ninja pkg-config python3 libxsimd-dev=xsimd/xsimd.hpp doctest-dev=doctest/doctest.h \
  libcli11-dev=CLI/CLI.hpp nlohmann-json3-dev=nlohmann/json.hpp libedit-dev=histedit.h libcpp-httplib-dev=httplib.h libbenchmark-dev=benchmark/benchmark.h

say "configuring build/release"
cmake --preset release -DCRIA_BUILD_{TESTS,EXAMPLES,BENCH}=ON ${CRIA_TEST_DATA:+"-DCRIA_TEST_DATA=$CRIA_TEST_DATA"}
say "building"
cmake --build --preset release --parallel "$jobs"

if [ -z "${CRIA_TEST_SMOLLM2:-}" ]; then
  say "fetching the chat model that some tests ask"
  CRIA_TEST_SMOLLM2=$(bash examples/fetch_model.sh) || say "not there: its tests are SKIPPED"
  export CRIA_TEST_SMOLLM2
fi
say "testing"
ctest --preset release --parallel "$jobs" "$@"
