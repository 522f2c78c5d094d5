# SPDX-License-Identifier: MIT
# Compiles for 64-bit Windows on another machine and runs the programs under wine (Debian: g++-mingw-w64-x86-64-posix, wine64). The programs need no
# library beside them. The header-only packages come from this machine, as in aarch64-linux-gnu.cmake.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
find_program(CRIA_WINE NAMES wine64 wine wine64-stable wine-stable PATHS /usr/lib/wine NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(CRIA_WINE)
if(CRIA_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${CRIA_WINE})
endif()
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)

set(CRIA_NATIVE_INCLUDE_DIR /usr/include CACHE PATH "Folder of this machine that holds xsimd/, doctest/, CLI/ and nlohmann/")
foreach(package IN ITEMS xsimd doctest CLI nlohmann)
  if(EXISTS ${CRIA_NATIVE_INCLUDE_DIR}/${package})
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/native)
    file(CREATE_LINK ${CRIA_NATIVE_INCLUDE_DIR}/${package} ${CMAKE_BINARY_DIR}/native/${package} SYMBOLIC)
  endif()
endforeach()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_INCLUDE_PATH ${CMAKE_BINARY_DIR}/native)
