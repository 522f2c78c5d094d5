#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every example of examples/*.cpp on the small model, and without one.
set -euo pipefail

model=$CRIA_TEST_DATA/models/stories260K.gguf
[ -r "$model" ] || { echo "SKIPPED: $model is absent (set CRIA_TEST_DATA)"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }

for source in "$CRIA_SOURCE_DIR"/examples/*.cpp; do
  name=$(basename "$source" .cpp)
  [ "$(wc -l <"$source")" -lt 80 ] || fail "$name.cpp has 80 lines or more"
  out=$("$CRIA_EXAMPLES_DIR/$name" "$model") || fail "$name: status $?"
  [ ${#out} -ge 20 ] || fail "$name printed only '$out'"
  if "$CRIA_EXAMPLES_DIR/$name" "$CRIA_TEST_DATA/no/such.gguf" >/dev/null 2>&1; then fail "$name accepts a model that is not there"; fi
  echo "ok: $name"
done

text=$("$CRIA_EXAMPLES_DIR/custom_sampler" "$model" | sed '/^---$/,$d')
case $text in *e*) fail "custom_sampler wrote an e: $text" ;; esac
# 44 positions were evaluated (5 of the prompt, 39 of 40 tokens) in 5 layers of 4 kv heads.
"$CRIA_EXAMPLES_DIR/custom_kv_cache" "$model" "Once upon a time" | grep '^44 positions, 880 rows written, ' >/dev/null ||
  fail "custom_kv_cache counts otherwise"
text=$("$CRIA_EXAMPLES_DIR/custom_kv_cache" "$model")
expected=$("$CRIA_EXAMPLES_DIR/cria" run -m "$model" -p "Once upon a time" --temp 0 -n 40)
[ "${text:0:60}" = "${expected:0:60}" ] || fail "custom_kv_cache writes another text"
