#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes the Conan package without any server, from the system's xsimd, and builds and runs its consumer. Skipped where Conan 2 is not installed.
set -euo pipefail

if ! version=$(conan --version 2>/dev/null) || [[ $version != "Conan version 2."* ]]; then
  echo "SKIPPED: Conan 2 is not installed (pip install conan)"
  exit 77
fi
rm -rf "$CRIA_TEST_TMP" && mkdir -p "$CRIA_TEST_TMP" && cd "$CRIA_TEST_TMP"
export CONAN_HOME=$PWD/home CRIA_XSIMD_INCLUDE_DIR
run() { "$@" >>conan.log 2>&1 || { tail -n 80 conan.log; exit 1; }; }

cp -r "$CRIA_SOURCE_DIR"/tests/package/conan/{test_package,xsimd} .  # Conan writes beside them
run conan profile detect
run conan export-pkg xsimd
run conan create "$CRIA_SOURCE_DIR" --no-remote --test-folder "$PWD/test_package" -s compiler.cppstd=gnu20 -s build_type=Debug
package=$(find home/p/b -path '*/p/include/cria/cria.hpp' | head -n 1)
diff <(cd "$CRIA_SOURCE_DIR/include" && find . -name '*.hpp' | sort) <(cd "${package%/cria/cria.hpp}" && find . -type f | sort)
[ "$(grep -c '^cria [0-9.]*: io: ' conan.log)" = 2 ] || { echo "not both programs of the consumer ran"; tail -n 40 conan.log; exit 1; }
echo "ok: both programs of the consumer ran"
