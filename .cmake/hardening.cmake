# Hardening of what is shipped. quern_options (everything) gets what costs nothing; quern_checks gets
# what puts checks into code, and the kernels, which only see pointers that the planner has proved,
# do without it.
include(CheckCXXCompilerFlag)
include(CheckPIESupported)
check_pie_supported()

add_library(quern_checks INTERFACE)

# Indirect branches land only where they may (x86 CET); other processors refuse the flag.
check_cxx_compiler_flag(-fcf-protection QUERN_HAS_CF_PROTECTION)
if(QUERN_HAS_CF_PROTECTION)
  target_compile_options(quern_options INTERFACE -fcf-protection)
endif()

# Addresses are resolved at start and read-only from then on; the stack is never executable.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  target_link_options(quern_options INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()

check_cxx_compiler_flag(-fstack-protector-strong QUERN_HAS_STACK_PROTECTOR)
check_cxx_compiler_flag(-fstack-clash-protection QUERN_HAS_STACK_CLASH_PROTECTION)
foreach(flag STACK_PROTECTOR:-fstack-protector-strong STACK_CLASH_PROTECTION:-fstack-clash-protection)
  string(REPLACE ":" ";" flag ${flag})
  list(GET flag 0 name)
  list(GET flag 1 option)
  if(QUERN_HAS_${name})
    target_compile_options(quern_checks INTERFACE ${option})
  endif()
endforeach()

# Bounds of the standard containers, in every configuration.
target_compile_definitions(quern_checks INTERFACE _GLIBCXX_ASSERTIONS)

# Sanitizers bring better versions of these checks and do not go with them.
if(NOT QUERN_SANITIZE)
  target_compile_options(quern_checks INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()
