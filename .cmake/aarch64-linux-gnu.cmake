# SPDX-License-Identifier: MIT
# Compiles for 64-bit Arm Linux on another machine and runs the programs under qemu (Debian: g++-aarch64-linux-gnu, qemu-user).
#
# The header-only packages xsimd and doctest come from this machine. Their folders are linked into the build folder instead of being searched where
# they lie: beside them are this machine's own C headers, which must not be found.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

set(CRIA_NATIVE_INCLUDE_DIR /usr/include CACHE PATH "Folder of this machine that holds xsimd/ and doctest/")
foreach(package IN ITEMS xsimd doctest)
  if(EXISTS ${CRIA_NATIVE_INCLUDE_DIR}/${package})
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/native)
    file(CREATE_LINK ${CRIA_NATIVE_INCLUDE_DIR}/${package} ${CMAKE_BINARY_DIR}/native/${package} SYMBOLIC)
  endif()
endforeach()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_INCLUDE_PATH ${CMAKE_BINARY_DIR}/native)
