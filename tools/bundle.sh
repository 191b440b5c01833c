#!/usr/bin/env bash
# Makes a folder that runs on a GPU node with nothing but a driver: programs, tests, the shared libraries they need, scenarios.
#   tools/bundle.sh FOLDER        (FOLDER.tar.xz beside it; start FOLDER/tools/gpu_check.sh there)
# The libraries are found relative to the programs. The node's C library must be as new as this machine's.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

[ $# -eq 1 ] || fail "name the folder to make: tools/bundle.sh FOLDER"
folder=$1
limit_bytes=$((40 << 20))
[ ! -e "$folder" ] || [ -f "$folder/.crossover-bundle" ] || fail "$folder exists and is not a bundle; name another folder or remove it"

need_packages "${build_packages[@]}" libgtest-dev libboost-context-dev libbenchmark-dev xz-utils
# RPATH, not RUNPATH: it is asked for the libraries of libraries too.
build "$root/build/bundle" all -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_CUDA=ON -DCROSSOVER_TESTS=ON -DCROSSOVER_MICRO=ON \
  '-DCMAKE_BUILD_RPATH=$ORIGIN/../lib' '-DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags -s'

rm -rf "$folder"
mkdir -p "$folder"/{bin,lib,tools,scenarios,tests}
touch "$folder/.crossover-bundle"
programs=(crossover crossover_gpu_micro kernels/cuda/cuda_tests engine/cuda_engine_tests)
for program in "${programs[@]}"; do cp "$root/build/bundle/$program" "$folder/bin/"; done
# The C library and its loader are the node's own: they belong to its kernel and its driver.
for program in "$folder"/bin/*; do ldd "$program"; done | awk '$3 ~ /^\// { print $3 }' | sort -u |
  grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|ld-linux[^/]*)\.so' | while read -r library; do cp -L "$library" "$folder/lib/"; done
# Opened at run time, so that no program names it: what traced samples need (bench/profile/cupti_library.h).
for library in "${CUDA_HOME:-/usr/local/cuda}"/lib64/libcupti.so.1[2-9]; do
  if [ -e "$library" ]; then cp -L "$library" "$folder/lib/"; fi
done
cp "$root"/scenarios/*.json "$folder/scenarios/"
cp "$root/tools/gpu_check.sh" "$folder/tools/"
if [ -d "${CROSSOVER_GOLDEN:-/nonexistent}/models" ]; then  # reference tensors that do not live in the tree
  cp -r "$CROSSOVER_GOLDEN/models" "$folder/tests/"
fi
cp -r "$root/engine/tests/data/reference" "$folder/tests/"

bytes=$(du -sb --exclude=models "$folder" | cut -f1)
[ "$bytes" -le $limit_bytes ] || fail "the bundle has $bytes bytes, at most $limit_bytes are wanted; see $folder"
tar -C "$(dirname "$folder")" -cJf "$folder.tar.xz" "$(basename "$folder")"
echo "$folder: $bytes bytes; packed: $(stat -c %s "$folder.tar.xz") bytes in $folder.tar.xz"
