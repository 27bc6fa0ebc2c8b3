# Switches of the build; CMakePresets.json sets them.
option(SOP_TESTS "build the tests" ON)
option(SOP_FUZZ "build the fuzz targets (clang)" OFF)
option(SOP_COVERAGE "count covered lines" OFF)
option(SOP_DEEP_CHECKS "deep assertions and lock ranks" OFF)
set(SOP_SANITIZE "" CACHE STRING "sanitizers, e.g. address,undefined or thread")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)

# Warnings, sanitizers and include paths that every target of this tree has.
function(sop_target name)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE $<$<BOOL:${SOP_DEEP_CHECKS}>:SOP_DEEP_CHECKS=1>)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow
    -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wpointer-arith -Wcast-qual
    -Wformat=2 -Werror -fno-strict-aliasing -fno-omit-frame-pointer
    # Errors name the file that noticed: "engine/base/err.c", wherever the tree lay when built.
    -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=)
  if(SOP_SANITIZE)
    target_compile_options(${name} PRIVATE -fsanitize=${SOP_SANITIZE} -fno-sanitize-recover=all)
  endif()
  if(SOP_COVERAGE)
    # Atomic counters: threads must not lose counts, or the percentage would wobble.
    target_compile_options(${name} PRIVATE --coverage -fprofile-update=atomic)
  endif()
  target_link_libraries(${name} PRIVATE PkgConfig::ISAL Threads::Threads)
endfunction()

if(SOP_SANITIZE)
  add_link_options(-fsanitize=${SOP_SANITIZE})
endif()
if(SOP_COVERAGE)
  add_link_options(--coverage)
endif()
