# SPDX-License-Identifier: MIT
# Runs a portfile without vcpkg: cmake -DPORTFILE=... -DPORT=... -DCURRENT_PACKAGES_DIR=... -DCURRENT_INSTALLED_DIR=... -DWORK=... -P stand_in.cmake
# The functions do what vcpkg documents of them, as far as a header-only port can tell, and refuse arguments that they do not know.
cmake_minimum_required(VERSION 3.23)

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  if(arg_UNPARSED_ARGUMENTS OR NOT VCPKG_BUILD_TYPE STREQUAL "release")
    message(FATAL_ERROR "vcpkg_cmake_configure: '${arg_UNPARSED_ARGUMENTS}', build type '${VCPKG_BUILD_TYPE}'")
  endif()
  run(${CMAKE_COMMAND} -S ${arg_SOURCE_PATH} -B ${WORK} -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run(${CMAKE_COMMAND} --build ${WORK} --target install)
endfunction()

function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "CONFIG_PATH" "")
  if(arg_UNPARSED_ARGUMENTS OR NOT EXISTS ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}/${PORT}Config.cmake)
    message(FATAL_ERROR "vcpkg_cmake_config_fixup: '${arg_UNPARSED_ARGUMENTS}', no ${arg_CONFIG_PATH}/${PORT}Config.cmake")
  endif()
  file(RENAME ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH} ${CURRENT_PACKAGES_DIR}/share/${PORT})
  # What moves two folders up must find its prefix from there.
  file(READ ${CURRENT_PACKAGES_DIR}/share/${PORT}/${PORT}Targets.cmake text)
  string(REGEX REPLACE "(get_filename_component\\(_IMPORT_PREFIX \"\\\${_IMPORT_PREFIX}\" PATH\\)\n)+"
    "get_filename_component(_IMPORT_PREFIX \"\${CMAKE_CURRENT_LIST_DIR}/../../\" ABSOLUTE)\n" text "${text}")
  file(WRITE ${CURRENT_PACKAGES_DIR}/share/${PORT}/${PORT}Targets.cmake "${text}")
  file(GLOB rest ${CURRENT_PACKAGES_DIR}/share/cmake/*)
  if(NOT rest)
    file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/share/cmake)
  endif()
endfunction()

function(vcpkg_fixup_pkgconfig)
  file(GLOB found ${CURRENT_PACKAGES_DIR}/share/pkgconfig/*.pc ${CURRENT_PACKAGES_DIR}/lib/pkgconfig/*.pc)
  if(NOT found)
    message(FATAL_ERROR "vcpkg_fixup_pkgconfig: no .pc file")
  endif()
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  file(INSTALL ${arg_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT} RENAME copyright)
endfunction()

include(${PORTFILE})

# vcpkg's own complaints about a port.
foreach(needed IN ITEMS share/${PORT}/copyright share/${PORT}/usage share/${PORT}/${PORT}Config.cmake include)
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/${needed})
    message(FATAL_ERROR "the port installs no ${needed}")
  endif()
endforeach()
foreach(unwanted IN ITEMS lib bin debug share/cmake share/licenses)
  if(EXISTS ${CURRENT_PACKAGES_DIR}/${unwanted})
    message(FATAL_ERROR "the port leaves ${unwanted}")
  endif()
endforeach()
