# The CUDA backend: whether it is built, and how .cu files get into a library. nvcc is called file by file
# rather than as a language of CMake's, so that machines without it need nothing.
#
# Afterwards QUERN_CUDA says whether it is built, and QUERN_CUDA_REASON why not.
set(QUERN_CUDA OFF)
if(NOT QUERN_WITH_CUDA)
  set(QUERN_CUDA_REASON "QUERN_WITH_CUDA is OFF")
elseif(CMAKE_CROSSCOMPILING OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(QUERN_CUDA_REASON "the CUDA backend is built on Linux for Linux")
else()
  find_program(QUERN_NVCC nvcc HINTS $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
  get_filename_component(cuda_root "${QUERN_NVCC}" REALPATH)
  get_filename_component(cuda_root "${cuda_root}" DIRECTORY)
  get_filename_component(cuda_root "${cuda_root}" DIRECTORY)
  find_path(QUERN_CUDA_INCLUDE_DIR cuda.h HINTS ${cuda_root}/include)
  if(NOT QUERN_NVCC OR NOT QUERN_CUDA_INCLUDE_DIR)
    set(QUERN_CUDA_REASON "nvcc and cuda.h were not found")
  else()
    execute_process(COMMAND ${QUERN_NVCC} --version OUTPUT_VARIABLE nvcc_version ERROR_QUIET)
    string(REGEX MATCH "release ([0-9.]+)" nvcc_version "${nvcc_version}")
    if(CMAKE_MATCH_1 VERSION_LESS 12.0)
      set(QUERN_CUDA_REASON "nvcc is older than 12.0: '${CMAKE_MATCH_1}'")
    else()
      set(QUERN_CUDA ON)
    endif()
  endif()
endif()
if(QUERN_CUDA)
  message(STATUS "CUDA backend: ${QUERN_NVCC} ${CMAKE_MATCH_1} for ${QUERN_CUDA_ARCHITECTURES}")
elseif(QUERN_WITH_CUDA STREQUAL "AUTO" OR NOT QUERN_WITH_CUDA)
  message(STATUS "CUDA backend: not built: ${QUERN_CUDA_REASON}")
else()
  message(FATAL_ERROR "QUERN_WITH_CUDA is ON, but ${QUERN_CUDA_REASON}")
endif()

# What this nvcc knows of the architectures: the newest came with 12.8.
set(architectures "")
if(QUERN_CUDA)
  execute_process(COMMAND ${QUERN_NVCC} --list-gpu-arch OUTPUT_VARIABLE known ERROR_QUIET)
  foreach(architecture ${QUERN_CUDA_ARCHITECTURES})
    if(known MATCHES "compute_${architecture}[^0-9]")
      list(APPEND architectures ${architecture})
    else()
      message(STATUS "CUDA backend: this nvcc has no code for ${architecture}")
    endif()
  endforeach()
endif()

# Code of every architecture, and the first one's PTX for devices that are newer than all of them.
set(QUERN_NVCC_FLAGS --fatbin -std=c++20 -O3 -fmad=false -prec-div=true -prec-sqrt=true -ftz=false
                     --expt-relaxed-constexpr --Werror all-warnings -Xfatbin -compress-all -Xptxas -v
                     -ccbin ${CMAKE_CXX_COMPILER})
set(first_code ",compute_")
foreach(architecture ${architectures})
  if(first_code)
    list(APPEND QUERN_NVCC_FLAGS
         "-gencode=arch=compute_${architecture},code=[sm_${architecture},compute_${architecture}]")
    set(first_code "")
  else()
    list(APPEND QUERN_NVCC_FLAGS "-gencode=arch=compute_${architecture},code=sm_${architecture}")
  endif()
endforeach()

# quern_cuda_modules(TARGET FUNCTION file.cu…): compiles each file to a fatbin and adds to the target a source
# that holds them and defines quern::backends::cuda::FUNCTION(), the list of them. Beside each fatbin lies what
# ptxas says of the registers, stacks and spills of its kernels.
function(quern_cuda_modules target function)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target}_modules)
  file(MAKE_DIRECTORY ${folder})
  set(fatbins "")
  set(images "")
  set(table "")
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME_WE)
    set(fatbin ${folder}/${name}.fatbin)
    add_custom_command(
      OUTPUT ${fatbin} ${fatbin}.resources
      COMMAND sh -c "\"$@\" 2> \"$0\" || { cat \"$0\" >&2; exit 1; }" ${fatbin}.resources
              ${QUERN_NVCC} ${QUERN_NVCC_FLAGS}
              -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/lib -I${CMAKE_SOURCE_DIR}
              -MD -MF ${fatbin}.d -o ${fatbin} ${source}
      DEPENDS ${source} DEPFILE ${fatbin}.d VERBATIM COMMENT "nvcc ${name}.cu")
    list(APPEND fatbins ${fatbin})
    # The name behind the image is for the emulated device of the tests; the driver does not read so far.
    string(APPEND images "asm(\".pushsection .rodata\\n.balign 16\\nquern_module_${name}:\\n\"\n"
           "    \".incbin \\\"${fatbin}\\\"\\n.asciz \\\"quern-module:${name}\\\"\\n.popsection\");\n"
           "extern \"C\" __attribute__((visibility(\"hidden\"))) const char quern_module_${name}[];\n")
    string(APPEND table "    Module{\"${name}\", quern_module_${name}},\n")
  endforeach()
  list(LENGTH fatbins n_modules)
  set(source ${folder}/modules.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT
"// Made by .cmake/cuda.cmake.
#include <array>

#include \"backends/cuda/device.h\"

@images@
namespace quern::backends::cuda {

std::span<const Module> @function@() noexcept {
  static const std::array<Module, @n_modules@> kModules = {
@table@  };
  return kModules;
}

}  // namespace quern::backends::cuda
")
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${fatbins}")
  target_sources(${target} PRIVATE ${source})
endfunction()
