# The layers of DESIGN.md section 2 as CMake targets. A layer is an object library made of every
# .cpp file of its folder (a new file is seen without an edit); `quern` is made of the core layers.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set_property(GLOBAL PROPERTY QUERN_CORE_LAYERS "")

# Every library that a layer may link, found once here, because imported targets are seen only from the
# folder that found them and from those below.
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
if(QUERN_ISAS)
  find_package(xsimd REQUIRED)
endif()
if(QUERN_WITH_OPENMP)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  set(QUERN_OPENMP_LINK OpenMP::OpenMP_CXX)
endif()
if(QUERN_WITH_ONEDNN)
  # Its headers alone, because the library is loaded when it is first needed (onednn.h); not by its own
  # package file: Debian's asks for OpenCL's headers, which nothing here uses.
  find_path(QUERN_ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.h REQUIRED)
endif()
if(QUERN_WITH_PCRE2 OR QUERN_WITH_UTF8PROC)
  find_package(PkgConfig REQUIRED)
endif()
if(QUERN_WITH_PCRE2)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8)
endif()
if(QUERN_WITH_UTF8PROC)
  pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET GLOBAL libutf8proc)
endif()

add_library(quern_options INTERFACE)
target_include_directories(quern_options INTERFACE
  ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/lib ${CMAKE_SOURCE_DIR})
target_compile_options(quern_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Werror
  # GCC 12 sees overlapping copies in every std::string operator+ (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # The numerics law: nothing may be contracted or reordered (DESIGN.md section 3).
  -ffp-contract=off -fno-math-errno
  $<$<COMPILE_LANGUAGE:CXX>:-fvisibility-inlines-hidden>)
if(QUERN_SANITIZE)
  target_compile_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(quern_options INTERFACE -fsanitize=${QUERN_SANITIZE})
endif()

include(.cmake/hardening.cmake)

# quern_layer(NAME [CORE] [FLAGS flag...] [LINK target...]): the object library quern_NAME of the
# current folder's .cpp files. CORE layers become part of the `quern` library.
function(quern_layer name)
  cmake_parse_arguments(ARG "CORE" "" "FLAGS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(quern_${name} OBJECT ${sources})
  target_link_libraries(quern_${name} PUBLIC quern_options PRIVATE ${ARG_LINK})
  target_compile_options(quern_${name} PRIVATE ${ARG_FLAGS})
  if(NOT name MATCHES "^kernels")
    target_link_libraries(quern_${name} PRIVATE quern_checks)
  endif()
  if(ARG_CORE)
    set_property(GLOBAL APPEND PROPERTY QUERN_CORE_LAYERS quern_${name})
    foreach(library ${ARG_LINK})
      set_property(GLOBAL APPEND PROPERTY QUERN_CORE_LINK ${library})
    endforeach()
  endif()
endfunction()

include(.cmake/package.cmake)
