#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the vcpkg port with a stand-in for vcpkg's functions, checks what it installs, and configures a consumer with it.
set -euo pipefail

port=$CRIA_SOURCE_DIR/tests/package/vcpkg/ports/cria
rm -rf "$CRIA_TEST_TMP" && mkdir -p "$CRIA_TEST_TMP" && cd "$CRIA_TEST_TMP"

echo "== one version, one list of dependencies"
python3 - "$CRIA_SOURCE_DIR" "$port" <<'EOF'
import json, re, sys
root, port = (json.load(open(folder + "/vcpkg.json")) for folder in sys.argv[1:])
config = open(sys.argv[1] + "/include/cria/core/config.hpp").read()
version = ".".join(re.search(r"#define CRIA_VERSION_%s (\d+)" % part, config).group(1) for part in ("MAJOR", "MINOR", "PATCH"))
bad = [k for k in ("name", "version-semver", "description", "license", "dependencies") if root[k] != port[k]]
sys.exit("differs from the root's vcpkg.json: %s" % bad if bad else None if port["version-semver"] == version else "not version " + version)
EOF
grep -q "find_package(cria CONFIG REQUIRED)" "$port/usage" && grep -q "target_link_libraries(main PRIVATE cria::cria)" "$port/usage"

echo "== the port"
mkdir -p installed/include && ln -s "$CRIA_XSIMD_INCLUDE_DIR/xsimd" installed/include/xsimd
"$CMAKE" "-DPORTFILE=$port/portfile.cmake" -DPORT=cria "-DCURRENT_PACKAGES_DIR=$PWD/package" "-DCURRENT_INSTALLED_DIR=$PWD/installed" "-DWORK=$PWD/work" \
  -P "$CRIA_SOURCE_DIR/tests/package/vcpkg/stand_in.cmake" >port.log 2>&1 || { cat port.log; exit 1; }
diff <(cd "$CRIA_SOURCE_DIR/include" && find . -name '*.hpp' | sort) <(cd package/include && find . -type f | sort)
! grep -rn -e "$CRIA_SOURCE_DIR" -e "$PWD" package/share || { echo "a path of the build is in the package"; exit 1; }
cp -r package/. installed/

echo "== a consumer"
"$CMAKE" -S "$CRIA_SOURCE_DIR/tests/package/find_package" -B consumer "-DCMAKE_CXX_COMPILER=$CXX" "-DCMAKE_PREFIX_PATH=$PWD/installed" >consumer.log 2>&1 ||
  { cat consumer.log; exit 1; }
grep -q "in $PWD/installed/include" consumer.log || { echo "the consumer takes another xsimd"; cat consumer.log; exit 1; }
echo "ok"
