# Cross build for 64-bit ARM Linux with Debian's compilers (g++-aarch64-linux-gnu); what is built
# runs under qemu-user-static. Header-only libraries (xsimd, doctest, nlohmann-json, CLI11) come from
# /usr/include, which Debian's cross compilers search last; compiled ones are switched off.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64-static;-L;/usr/aarch64-linux-gnu")

# xsimd's package file lies in the host's own library folder.
file(GLOB quern_xsimd_packages /usr/lib/*/cmake/xsimd)
if(quern_xsimd_packages)
  list(GET quern_xsimd_packages 0 xsimd_DIR)
endif()
