# SPDX-License-Identifier: MIT
# For toolchain files: header-only packages of this machine, which are as good for another.
#
# Their folders are linked into the build folder instead of being searched where they lie: beside them are this machine's own C headers, which must
# not be found.
set(CRIA_NATIVE_INCLUDE_DIR /usr/include CACHE PATH "Folder of this machine that holds xsimd/, doctest/ and other header-only packages")
function(cria_link_native_headers)
  foreach(package IN LISTS ARGN)
    if(EXISTS ${CRIA_NATIVE_INCLUDE_DIR}/${package})
      file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/native)
      file(CREATE_LINK ${CRIA_NATIVE_INCLUDE_DIR}/${package} ${CMAKE_BINARY_DIR}/native/${package} SYMBOLIC)
    endif()
  endforeach()
endfunction()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_INCLUDE_PATH ${CMAKE_BINARY_DIR}/native)
