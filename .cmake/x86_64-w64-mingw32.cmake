# SPDX-License-Identifier: MIT
# Compiles for 64-bit Windows on another machine and runs the programs under wine (Debian: g++-mingw-w64-x86-64-posix, wine64). The programs need no
# library beside them.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
find_program(CRIA_WINE NAMES wine64 wine wine64-stable wine-stable PATHS /usr/lib/wine NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(CRIA_WINE)
if(CRIA_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${CRIA_WINE})
endif()
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)

include(${CMAKE_CURRENT_LIST_DIR}/nativeHeaders.cmake)
cria_link_native_headers(xsimd doctest CLI nlohmann)
