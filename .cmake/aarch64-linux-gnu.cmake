# SPDX-License-Identifier: MIT
# Compiles for 64-bit Arm Linux on another machine and runs the programs under qemu (Debian: g++-aarch64-linux-gnu, qemu-user).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

include(${CMAKE_CURRENT_LIST_DIR}/nativeHeaders.cmake)
cria_link_native_headers(xsimd doctest)
