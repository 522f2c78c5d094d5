# SPDX-License-Identifier: MIT
# The system's xsimd as a Conan package with ConanCenter's name and targets, for machines that reach no Conan server:
#   CRIA_XSIMD_INCLUDE_DIR=/usr/include conan export-pkg tests/package/conan/xsimd
import os
import re

from conan import ConanFile
from conan.tools.files import copy, load


class XsimdConan(ConanFile):
    name = "xsimd"
    license = "BSD-3-Clause"
    package_type = "header-library"

    def set_version(self):
        text = load(self, os.path.join(os.environ["CRIA_XSIMD_INCLUDE_DIR"], "xsimd/config/xsimd_config.hpp"))
        self.version = ".".join(re.search(r"#define XSIMD_VERSION_%s (\d+)" % part, text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))

    def package(self):
        copy(self, "xsimd/*", os.environ["CRIA_XSIMD_INCLUDE_DIR"], os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "xsimd")
        self.cpp_info.set_property("cmake_target_name", "xsimd")
