# SPDX-License-Identifier: MIT
# find_package(cria [COMPONENTS dispatch]) gives cria::cria and the function cria_add_dispatch(); the component calls it.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/criaXsimd.cmake)
if(cria_xsimd_problem)   # an error where cria is required
  set(cria_FOUND FALSE)
  set(cria_NOT_FOUND_MESSAGE "cria: ${cria_xsimd_problem}")
  return()
endif()
include(${CMAKE_CURRENT_LIST_DIR}/criaTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/criaDispatch.cmake)

foreach(cria_component IN LISTS cria_FIND_COMPONENTS)
  if(cria_component STREQUAL "dispatch")
    cria_add_dispatch()
    set(cria_dispatch_FOUND TRUE)
  elseif(cria_FIND_REQUIRED_${cria_component})
    set(cria_FOUND FALSE)
    set(cria_NOT_FOUND_MESSAGE "cria has no component '${cria_component}'; it has: dispatch")
  endif()
endforeach()
