#!/usr/bin/env bash
# Builds the kernel benchmarks and writes their numbers.
#   tools/micro.sh OUT.json [BENCHMARK-OPTION...]     Example: tools/micro.sh /tmp/micro.json --benchmark_filter=matvec
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 1 ] || fail "name the file to write: tools/micro.sh OUT.json"
out=$1
shift
need_packages "${build_packages[@]}" libbenchmark-dev
build "$root/build/micro" crossover_micro -DCMAKE_BUILD_TYPE=Release -DCROSSOVER_TESTS=OFF -DCROSSOVER_MICRO=ON
"$root/build/micro/crossover_micro" --benchmark_out="$out" --benchmark_out_format=json "$@"
sed -i '/"host_name"\|"executable"/d' "$out"  # for publishing
