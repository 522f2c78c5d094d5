# SPDX-License-Identifier: MIT
# conan create . -nr --test-folder tests/package/conan/test_package
# The consumer's find_package(cria) gives cria::cria and cria_add_dispatch(), as an installed cria does.
import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, load, rmdir
from conan.tools.layout import basic_layout

required_conan_version = ">=2.0"


class CriaConan(ConanFile):
    name = "cria"
    description = "Header-only C++20 inference of GGUF language models"
    license = "MIT"
    topics = ("llm", "gguf", "inference", "simd", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "CMakeLists.txt", ".cmake/*", "include/*", "LICENSE"
    no_copy_source = True

    def set_version(self):
        text = load(self, os.path.join(self.recipe_folder, "include/cria/core/config.hpp"))
        self.version = ".".join(re.search(r"#define CRIA_VERSION_%s (\d+)" % part, text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))

    def layout(self):
        basic_layout(self)

    def requirements(self):
        self.requires("xsimd/[>=8.1 <15]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        xsimd = self.dependencies["xsimd"].cpp_info.aggregated_components().includedirs
        toolchain.cache_variables["CRIA_XSIMD_INCLUDE_DIR"] = xsimd[0].replace("\\", "/")
        for option in ("TESTS", "BENCH", "EXAMPLES"):
            toolchain.cache_variables["CRIA_BUILD_" + option] = False
        toolchain.generate()

    def package_id(self):
        self.info.clear()

    def package(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # Conan writes the target and the .pc file, with its own xsimd; of cria's CMake files it needs the function.
        cmake_files = os.path.join(self.package_folder, "share", "cmake", "cria")
        copy(self, "criaDispatch.cmake", cmake_files, os.path.join(self.package_folder, "lib", "cmake"))
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.requires = ["xsimd::xsimd"]
        self.cpp_info.set_property("cmake_file_name", "cria")
        self.cpp_info.set_property("cmake_target_name", "cria::cria")
        self.cpp_info.set_property("cmake_build_modules", [os.path.join("lib", "cmake", "criaDispatch.cmake")])
        self.cpp_info.set_property("pkg_config_name", "cria")
        if self.settings.get_safe("os") in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread", "m"]
