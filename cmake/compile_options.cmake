# Options of every target. No fast-math anywhere; contraction off, because quantized bytes must equal ggml's reference and
# because a product and a sum that fuse on one machine only would give different logits on another.
# Only kernels/ is worth -O3 and its compile time; tests and the harness wait for others.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
add_library(crossover_options INTERFACE)
target_include_directories(crossover_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(crossover_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wno-sign-conversion;-Wshadow;-Werror;-ffp-contract=off>"
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>  # GCC 12 sees overlaps in operator+(const char*, string) that are not there
  "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings;-diag-suppress=554;-Xcompiler=-Wall>")  # 554: a conversion of ConstRows to itself, which nobody calls

if(CROSSOVER_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "CROSSOVER_FUZZ needs clang, found ${CMAKE_CXX_COMPILER_ID}: configure with -DCMAKE_CXX_COMPILER=clang++")
  endif()
  # The parsers lie above the kernels, which take clang very long with sanitizers and never see a file.
  set(parses $<IN_LIST:$<TARGET_PROPERTY:NAME>,crossover_engine$<SEMICOLON>crossover_bench$<SEMICOLON>crossover_fuzz_targets>)
  target_compile_options(crossover_options INTERFACE -Wno-error
    "$<${parses}:-fsanitize=fuzzer-no-link,address,undefined;-fno-sanitize-recover=undefined;-fno-omit-frame-pointer;-g1>")
  target_link_options(crossover_options INTERFACE -fsanitize=address,undefined)
elseif(CROSSOVER_SANITIZE STREQUAL "address")
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
elseif(CROSSOVER_SANITIZE STREQUAL "thread")
  set(sanitize -fsanitize=thread -fno-omit-frame-pointer -g1)
elseif(CROSSOVER_SANITIZE)
  message(FATAL_ERROR "CROSSOVER_SANITIZE takes address or thread, not '${CROSSOVER_SANITIZE}'")
endif()
target_compile_options(crossover_options INTERFACE ${sanitize})
target_link_options(crossover_options INTERFACE ${sanitize})

include(GoogleTest)  # not inside the function: what it sets must be seen by whoever calls gtest_discover_tests

# crossover_test(NAME LIBRARY [SOURCE...]): the files of tests/ below the calling folder become one GoogleTest program.
function(crossover_test name library)
  if(NOT CROSSOVER_TESTS)
    return()
  endif()
  find_package(GTest REQUIRED)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources} ${ARGN})
  target_link_libraries(${name} PRIVATE ${library} GTest::gtest GTest::gtest_main)
  target_compile_options(${name} PRIVATE -O1)
  target_compile_definitions(${name} PRIVATE CROSSOVER_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
endfunction()
