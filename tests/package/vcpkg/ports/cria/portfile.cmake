# SPDX-License-Identifier: MIT
# An overlay port: vcpkg install cria --overlay-ports=tests/package/vcpkg/ports. It takes the source tree that it lies in; a port for a registry
# gets its source from vcpkg_from_github() instead and is otherwise the same.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # nothing is compiled

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DCRIA_BUILD_TESTS=OFF
    -DCRIA_BUILD_BENCH=OFF
    -DCRIA_BUILD_EXAMPLES=OFF
    "-DCRIA_XSIMD_INCLUDE_DIR=${CURRENT_INSTALLED_DIR}/include"
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/cria)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/share/licenses")

vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
