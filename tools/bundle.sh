#!/usr/bin/env bash
# Makes a folder that runs on a GPU node with nothing but a driver: programs, tests with their data, the shared libraries they need, scenarios.
#   tools/bundle.sh FOLDER        (FOLDER.tar.xz beside it; start FOLDER/tools/gpu_check.sh there)
# Libraries are found relative to the programs, but for the C library and the C++ library, which are the node's: what is the oldest C library that does is said
# at the end. Compilers' own C++ library often asks for a newer one; it travels in FOLDER/lib/cxx for nodes without one (LD_LIBRARY_PATH). Where
# CROSSOVER_GOLDEN names a folder of golden data, its blocks and its dense model travel too, packed; a node that has the whole folder names it by the same variable.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

[ $# -eq 1 ] || fail "name the folder to make: tools/bundle.sh FOLDER"
folder=$1
limit_bytes=$((40 << 20))
[ ! -e "$folder" ] || [ -f "$folder/.crossover-bundle" ] || fail "$folder exists and is not a bundle; name another folder or remove it"

need_packages "${build_packages[@]}" libgtest-dev libboost-context-dev libbenchmark-dev xz-utils
programs=(crossover crossover_gpu_micro kernels/cuda/cuda_tests engine/cuda_engine_tests)
# The kernels once for all programs, and no libcurl, which needs thirty libraries. RPATH, not RUNPATH: it is asked for the libraries of
# libraries too. No program runs in the build folder, where its libraries are not yet beside it.
build "$root/build/bundle" "$(basename -a "${programs[@]}")" -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_CUDA=ON -DCROSSOVER_TESTS=ON -DCROSSOVER_MICRO=ON \
  -DCROSSOVER_SHARED_KERNELS=ON -DCROSSOVER_HTTP=OFF -DCMAKE_GTEST_DISCOVER_TESTS_DISCOVERY_MODE=PRE_TEST \
  -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN/../lib' '-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags -s' \
  '-DCMAKE_SHARED_LINKER_FLAGS=-Wl,--disable-new-dtags -s'

rm -rf "$folder"
mkdir -p "$folder"/{bin,lib,tools,scenarios,tests}
touch "$folder/.crossover-bundle"
for program in "${programs[@]}"; do cp "$root/build/bundle/$program" "$folder/bin/"; done
cp "$root"/build/bundle/kernels/libcrossover_kernels.so "$folder/lib/"
# The C library and its loader are the node's own: they belong to its kernel and its driver.
for program in "$folder"/bin/*; do ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
  grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libcrossover_kernels|ld-linux[^/]*)\.so' | while read -r library; do cp -L "$library" "$folder/lib/"; done
mkdir "$folder/lib/cxx"
mv "$folder"/lib/libstdc++.so.* "$folder"/lib/libgcc_s.so.* "$folder/lib/cxx/"
# Opened at run time, so that no program names them: CUPTI, which traced samples need (bench/profile/cupti_library.h), and what it counts bytes of the
# GPU's memory with. They are 36 MB long and a tenth of that packed; gpu_check.sh unpacks them.
libraries=${CUDA_HOME:-/usr/local/cuda}/lib64
if [ -d "$libraries" ]; then
  mapfile -t traces < <(cd "$libraries" && ls libcupti.so.1[2-9] libnvperf_host.so 2> /dev/null)
  if [ ${#traces[@]} -gt 0 ]; then tar -C "$libraries" -chJf "$folder/lib/traces.tar.xz" "${traces[@]}"; fi
fi
cp "$root"/scenarios/*.json "$folder/scenarios/"
cp "$root/tools/gpu_check.sh" "$folder/tools/"
for data in kernels/tests/data/formats engine/tests/data/reference; do  # as kernels/tests/tree_data.h looks for them
  mkdir -p "$folder/tests/$data"
  cp -r "$root/$data/." "$folder/tests/$data/"
done
if [ -d "${CROSSOVER_GOLDEN:-/nonexistent}/quant" ]; then  # reference data that does not live in the tree
  tar -C "$CROSSOVER_GOLDEN" -czf "$folder/tests/golden.tar.gz" quant models/dense-r3
fi

bytes=$(du -sb "$folder" | cut -f1)
[ "$bytes" -le $limit_bytes ] || fail "the bundle has $bytes bytes, at most $limit_bytes are wanted; see $folder"
missing=$(for program in "$folder"/bin/*; do env -i "$(command -v ldd)" "$program"; done | grep 'not found' || true)
[ -z "$missing" ] || fail "programs of the bundle miss libraries: $(sort -u <<< "$missing" | xargs)"
oldest=$(objdump -T "$folder"/bin/* "$folder"/lib/*.so* | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -1)
tar -C "$(dirname "$folder")" -cJf "$folder.tar.xz" "$(basename "$folder")"
echo "$folder: $bytes bytes; packed: $(stat -c %s "$folder.tar.xz") bytes in $folder.tar.xz; for a C library of ${oldest/_/ } or newer"
