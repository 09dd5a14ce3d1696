# The few ways in which this project makes targets, and the flags they share.

add_library(mote_flags INTERFACE)
target_compile_options(mote_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wold-style-cast>)
if(MOTE_WERROR)
  target_compile_options(mote_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(MOTE_SANITIZE)
  # GCC cannot see through instrumented code and warns of what never happens.
  target_compile_options(mote_flags INTERFACE -fsanitize=${MOTE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
    # ThreadSanitizer does not model fences; ours only order suppression flags, never data.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  target_link_options(mote_flags INTERFACE -fsanitize=${MOTE_SANITIZE})
endif()
target_compile_definitions(mote_flags INTERFACE MOTE_VERSION="${PROJECT_VERSION}" FMT_HEADER_ONLY=1)
target_include_directories(mote_flags INTERFACE ${PROJECT_SOURCE_DIR})

# mote_library(NAME SOURCES... [LINK LIBS...]): the static library mote_NAME, alias mote::NAME.
function(mote_library name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_library(mote_${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  add_library(mote::${name} ALIAS mote_${name})
  target_link_libraries(mote_${name} PUBLIC mote_flags ${ARG_LINK})
endfunction()

# What a sanitizer or a fuzzing build is for, without the rest.
add_custom_target(unit_tests)
add_custom_target(fuzzers)

# mote_test(NAME SOURCES... [LINK LIBS...] [LABEL unit|native]): a GoogleTest binary known to ctest.
# Unit tests run under every sanitizer; native ones need /dev/kvm and run in the release build as well.
function(mote_test name)
  if(NOT MOTE_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "LABEL" "LINK" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mote_flags ${ARG_LINK} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 120)
  if(ARG_LABEL STREQUAL unit)
    add_dependencies(unit_tests ${name})
  endif()
endfunction()

# mote_fuzzer(NAME SOURCES... [LINK LIBS...]): a libFuzzer binary; its seeds lie in tests/fuzz/corpus/NAME.
function(mote_fuzzer name)
  if(NOT MOTE_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE mote_flags ${ARG_LINK})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzzers)
  add_dependencies(fuzzers ${name})
endfunction()
