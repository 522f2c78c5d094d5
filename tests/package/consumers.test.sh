#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds and runs cria's consumers: installed with find_package, FetchContent, add_subdirectory, pkg-config, the headers as one file, compiled separately
# without CMake. The environment is that of tests/CMakeLists.txt. The consumers through Conan and vcpkg have tests of their own.
set -euo pipefail

here=$CRIA_SOURCE_DIR/tests/package
rm -rf "$CRIA_TEST_TMP" && mkdir -p "$CRIA_TEST_TMP" && cd "$CRIA_TEST_TMP"
major_minor_patch=$(sed -n 's/^#define CRIA_VERSION_[A-Z]* \([0-9]*\)$/\1/p' "$CRIA_SOURCE_DIR/include/cria/core/config.hpp" | paste -sd.)
read -ra flags <<<"$CXXFLAGS"
generator=$(command -v ninja >/dev/null && echo Ninja || echo "Unix Makefiles")
common=(-G "$generator" "-DCMAKE_CXX_COMPILER=$CXX" "-DCMAKE_CXX_FLAGS=$CXXFLAGS" -DCMAKE_BUILD_TYPE=Debug "-DCRIA_XSIMD_INCLUDE_DIR=$CRIA_XSIMD_INCLUDE_DIR")

expect_version() {
  local got
  got=$("$1")
  [ "$got" = "$major_minor_patch" ] || { echo "$1 prints '$got', not $major_minor_patch"; exit 1; }
  echo "ok: $1"
}

echo "== install"
"$CMAKE" -S "$CRIA_SOURCE_DIR" -B install.build "${common[@]}" -DCRIA_BUILD_{TESTS,BENCH,EXAMPLES}=OFF -DCMAKE_INSTALL_PREFIX="$PWD/prefix" >install.log
"$CMAKE" --install install.build >>install.log
diff <(cd "$CRIA_SOURCE_DIR/include" && find . -name '*.hpp' | sort) <(cd prefix/include && find . -type f | sort)
mv prefix moved  # the installed tree has no absolute path in it
rm -rf install.build

echo "== find_package"
"$CMAKE" -S "$here/find_package" -B find_package "${common[@]}" -DCMAKE_PREFIX_PATH="$PWD/moved" >find_package.log
"$CMAKE" --build find_package --parallel 2 >>find_package.log || { tail -n 60 find_package.log; exit 1; }
expect_version find_package/app
expect_version find_package/app_dispatch

echo "== a plug-in that contains the dispatch library exports nothing of it"
"$CXX" "${flags[@]}" -shared -Wl,--whole-archive find_package/libcria_dispatch.a -Wl,--no-whole-archive -pthread -o plugin.so
nm -D --defined-only plugin.so >plugin.symbols
if grep -E ' _ZN?K?4cria' plugin.symbols; then exit 1; fi
nm find_package/libcria_dispatch.a 2>/dev/null | grep -E ' _ZN?K?4cria' >/dev/null || { echo "the library has no such symbols: nothing is tested"; exit 1; }
echo "ok: none of its symbols"

echo "== -ffast-math is an error, and does not reach the dispatch library"
"$CMAKE" -S "$here/find_package" -B fast_math "${common[@]}" -DCMAKE_CXX_FLAGS="$CXXFLAGS -ffast-math" -DCMAKE_PREFIX_PATH="$PWD/moved" >fast_math.log
first_set=$(basename "$(find fast_math/cria_dispatch -name '*.cpp' | sort | head -n 1)" .cpp)
"$CMAKE" --build fast_math --target "cria_dispatch_$first_set" >>fast_math.log || { tail -n 60 fast_math.log; exit 1; }
for flag in -ffast-math -ffinite-math-only; do
  if "$CXX" "${flags[@]}" -std=c++20 $flag -fsyntax-only -I moved/include "$here/version.cpp" 2>fast_math.err; then echo "$flag compiles"; exit 1; fi
  grep -e -fno-fast-math fast_math.err >/dev/null || { head -n 20 fast_math.err; exit 1; }
done
echo "ok"

echo "== FetchContent, from a local copy, without exceptions"
"$CMAKE" -S "$here/add_subdirectory" -B fetched "${common[@]}" -DCMAKE_CXX_FLAGS="$CXXFLAGS -fno-exceptions -fno-rtti" \
  -DFETCHCONTENT_SOURCE_DIR_CRIA="$CRIA_SOURCE_DIR" >fetched.log
"$CMAKE" --build fetched --parallel 2 >>fetched.log || { tail -n 60 fetched.log; exit 1; }
expect_version fetched/app

echo "== add_subdirectory, with the host's own xsimd target"
mkdir own_xsimd && ln -s "$CRIA_XSIMD_INCLUDE_DIR/xsimd" own_xsimd/xsimd
"$CMAKE" -S "$here/add_subdirectory" -B own "${common[@]:0:4}" -UCRIA_XSIMD_INCLUDE_DIR -DHOST_XSIMD="$PWD/own_xsimd" -DCRIA_SOURCE="$CRIA_SOURCE_DIR" >own.log
echo "ok: found"

echo "== an xsimd that is too old, and none"
mkdir -p old/xsimd/config && touch old/xsimd/xsimd.hpp
printf '#define XSIMD_VERSION_MAJOR 7\n#define XSIMD_VERSION_MINOR 6\n#define XSIMD_VERSION_PATCH 0\n' >old/xsimd/config/xsimd_config.hpp
for case in "$PWD/old:7.6.0 .*too old" ":libxsimd-dev" "$PWD/nowhere:libxsimd-dev"; do
  rm -rf refused
  if "$CMAKE" -S "$here/add_subdirectory" -B refused "${common[@]:0:4}" -DCRIA_XSIMD_INCLUDE_DIR="${case%%:*}" \
    -DCRIA_SOURCE="$CRIA_SOURCE_DIR" >refused.log 2>&1; then
    echo "configuring with xsimd in '${case%%:*}' works, but should not"; exit 1
  fi
  tr -s '\n ' ' ' <refused.log | grep "${case#*:}" >/dev/null || { cat refused.log; exit 1; }
  for how in REQUIRED QUIET; do  # the installed one: the host decides whether that ends it
    rm -rf refused
    status=0
    "$CMAKE" -S "$here/optional" -B refused "${common[@]:0:4}" -DCMAKE_PREFIX_PATH="$PWD/moved" -DCRIA_XSIMD_INCLUDE_DIR="${case%%:*}" -DHOW=$how \
      >refused.log 2>&1 || status=1
    [ "$how $status" = "REQUIRED 1" ] || [ "$how $status" = "QUIET 0" ] || { cat refused.log; exit 1; }
    tr -s '\n ' ' ' <refused.log | grep "${case#*:}" >/dev/null || { cat refused.log; exit 1; }
  done
  grep "goes on without: cria: " refused.log >/dev/null || { cat refused.log; exit 1; }
  echo "ok: says '${case#*:}'"
done

echo "== pkg-config, with the warnings that careful hosts make errors"
every_warning=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wold-style-cast -Wcast-align -Wcast-qual -Wformat=2 -Wundef
  -Wnon-virtual-dtor -Woverloaded-virtual -Wredundant-decls -Wmissing-declarations -Wextra-semi -Wimplicit-fallthrough)
if command -v pkg-config >/dev/null; then
  export PKG_CONFIG_PATH=$PWD/moved/share/pkgconfig
  [ "$(pkg-config --modversion cria)" = "$major_minor_patch" ]
  read -ra pc <<<"$(pkg-config --cflags --libs cria)"
  [ "$CRIA_XSIMD_INCLUDE_DIR" = /usr/include ] || pc+=(-isystem "$CRIA_XSIMD_INCLUDE_DIR")
  "$CXX" "${flags[@]}" -std=c++20 "${every_warning[@]}" -Werror "$here/version.cpp" "${pc[@]}" -o pkg_config_app
  expect_version ./pkg_config_app
else
  echo "SKIPPED: pkg-config is not installed"
fi

echo "== installed into folders of the packager's choice: deeper ones, and others than the prefix"
away=$(mktemp -d)  # not below the source folder, which CMake refuses as an include folder of what is installed
trap 'rm -rf "$away"' EXIT
for case in "usr/include:usr/lib/any/share" "$away/include:usr/share" "$away/include:$away/share" "usr/include:$away/share"; do
  include=${case%%:*} data=${case#*:}
  rm -rf elsewhere "$away" chosen chosen.build
  "$CMAKE" -S "$CRIA_SOURCE_DIR" -B chosen.build "${common[@]}" -DCRIA_BUILD_{TESTS,BENCH,EXAMPLES}=OFF -DCMAKE_INSTALL_PREFIX="$PWD/chosen" \
    -DCMAKE_INSTALL_INCLUDEDIR="$include" -DCMAKE_INSTALL_DATADIR="$data" >chosen.log
  "$CMAKE" --install chosen.build >>chosen.log
  at=$PWD/chosen
  if [[ $data != /* ]]; then mv chosen elsewhere && at=$PWD/elsewhere; fi  # what lies below the prefix may move with it
  [[ $include == /* ]] || include=$at/$include
  [[ $data == /* ]] || data=$at/$data
  if command -v pkg-config >/dev/null; then
    got=$(PKG_CONFIG_PATH=$data/pkgconfig pkg-config --variable=includedir cria)
    [ "$(realpath -e "$got")" = "$(realpath -e "$include")" ] || { echo "$case: cria.pc has the headers in $got, not in $include"; exit 1; }
    [[ $got != *//* ]] || { echo "$case: cria.pc has $got"; exit 1; }
  fi
  rm -rf chosen_host
  "$CMAKE" -S "$here/optional" -B chosen_host "${common[@]}" -Dcria_DIR="$data/cmake/cria" -DHOW=REQUIRED >>chosen.log 2>&1 || { cat chosen.log; exit 1; }
  echo "ok: $case"
done

xsimd=()
[ "$CRIA_XSIMD_INCLUDE_DIR" = /usr/include ] || xsimd=(-isystem "$CRIA_XSIMD_INCLUDE_DIR")

if [ "$(uname -m)" = x86_64 ]; then
  echo "== the same warnings, AVX-512, without optimisation: then GCC's intrinsics are macros, and what they expand to is the host's"
  "$CXX" "${flags[@]}" -std=c++20 -O0 -march=x86-64-v4 -mavx512vnni "${every_warning[@]}" -Werror -I moved/include "${xsimd[@]}" -fsyntax-only \
    "$here/version.cpp"
fi

echo "== one file, C++23, and another version of the library in the same program"
mkdir -p one/cria && python3 "$CRIA_SOURCE_DIR/.cmake/amalgamate.py" >one/cria/cria.hpp
cp -r moved/include other && grep -rlE 'inline v0_1_0|cria_v0_1_0_' other | xargs sed -i 's/inline v0_1_0\b/inline v9/; s/cria_v0_1_0_/cria_v9_/'
"$CXX" "${flags[@]}" -std=c++20 -O0 -I other "${xsimd[@]}" -c "$here/second_unit.cpp" -o other.o
names=$(nm -C other.o)
if [[ $names == *cria::v0_1_0* || $names == *cria_v0_1_0* ]]; then echo "the other version has names of this one"; exit 1; fi
[[ $names == *cria::v9* ]] || { echo "the other version's names are not in its unit"; exit 1; }
"$CXX" "${flags[@]}" -std=c++2b -DCRIA_TEST_SECOND_UNIT -I one "${xsimd[@]}" "$here/version.cpp" other.o -pthread -o one_file_app
expect_version ./one_file_app

echo "== compiled separately without CMake: kernels in the same unit, and in one of their own"
separate=("${flags[@]}" -std=c++20 -Wall -Wextra -Werror -DCRIA_SEPARATE_COMPILATION -I moved/include "${xsimd[@]}")
echo '#include <cria/compile.hpp>' >same.cpp
printf '#define CRIA_KERNEL_SETS(X) X(scalar)\n#include <cria/compile.hpp>\n' >apart.cpp
printf '#define CRIA_ISA scalar\n#include <cria/kernels/instantiate.hpp>\n' >scalar.cpp
"$CXX" "${separate[@]}" -O0 -c same.cpp & others=($!)
"$CXX" "${separate[@]}" -O0 -c apart.cpp & others+=($!)
"$CXX" "${separate[@]}" -O1 -c scalar.cpp
"$CXX" "${separate[@]}" -O0 -c "$here/version.cpp" -DCRIA_TEST_SECOND_UNIT
"$CXX" "${separate[@]}" -O0 -c "$here/second_unit.cpp"
"$CXX" "${separate[@]}" -O0 -c "$here/conan/test_package/app.cpp"
for other in "${others[@]}"; do wait "$other"; done
if [[ $(nm -C app.o) == *cria::v0_1_0::kernels::gemm* ]]; then echo "a unit that should call kernels only has some"; exit 1; fi
for kernels in same.o "apart.o scalar.o"; do
  read -ra objects <<<"$kernels"
  "$CXX" "${flags[@]}" version.o second_unit.o "${objects[@]}" -pthread -o separate_app
  expect_version ./separate_app
  "$CXX" "${flags[@]}" app.o "${objects[@]}" -pthread -o separate_app
  ./separate_app | grep "there is no such file" >/dev/null || { echo "separate_app does not name the file"; exit 1; }
done
if "$CXX" "${flags[@]}" -std=c++20 -fsyntax-only -I moved/include "${xsimd[@]}" same.cpp >same.log 2>&1; then
  echo "compile.hpp without its macro compiles"
  exit 1
fi
grep CRIA_SEPARATE_COMPILATION same.log >/dev/null || { cat same.log; exit 1; }
