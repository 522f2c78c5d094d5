# SPDX-License-Identifier: MIT
# Makes cria::xsimd: the headers of xsimd, and nothing else. xsimd's own target is looked at for its include folder but never linked: in some
# distributions it drags in the xtl library. Where there is no xsimd to use, cria_xsimd_problem says why and the target is not made; else it is empty.

set(cria_xsimd_problem "")
if(NOT TARGET cria::xsimd)
  foreach(cria_target IN ITEMS xsimd::xsimd xsimd)
    if(TARGET ${cria_target})
      get_target_property(cria_xsimd_hints ${cria_target} INTERFACE_INCLUDE_DIRECTORIES)
      string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1" cria_xsimd_hints "${cria_xsimd_hints}")
      break()
    endif()
  endforeach()
  find_path(CRIA_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp HINTS ${cria_xsimd_hints} DOC "Folder that holds xsimd/xsimd.hpp")
  unset(cria_xsimd_hints)
  if(NOT CRIA_XSIMD_INCLUDE_DIR OR NOT EXISTS ${CRIA_XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp)
    string(CONCAT cria_xsimd_problem "<xsimd/xsimd.hpp> is missing. Install xsimd 8.1 or newer (Debian, Ubuntu: apt-get install libxsimd-dev) "
      "or set CRIA_XSIMD_INCLUDE_DIR to the folder that holds it.")
    return()
  endif()
  file(STRINGS ${CRIA_XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp CRIA_XSIMD_VERSION REGEX "^#define XSIMD_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
  list(TRANSFORM CRIA_XSIMD_VERSION REPLACE "^.* " "")
  list(JOIN CRIA_XSIMD_VERSION "." CRIA_XSIMD_VERSION)
  if(CRIA_XSIMD_VERSION VERSION_LESS 8.1)
    set(cria_xsimd_problem "xsimd ${CRIA_XSIMD_VERSION} in ${CRIA_XSIMD_INCLUDE_DIR} is too old; 8.1 or newer is needed.")
    return()
  endif()
  if(NOT cria_FIND_QUIETLY)
    message(STATUS "cria: xsimd ${CRIA_XSIMD_VERSION} in ${CRIA_XSIMD_INCLUDE_DIR}")
  endif()

  add_library(cria::xsimd INTERFACE IMPORTED GLOBAL)
  target_include_directories(cria::xsimd SYSTEM INTERFACE ${CRIA_XSIMD_INCLUDE_DIR})
endif()
