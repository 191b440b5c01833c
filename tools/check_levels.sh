#!/usr/bin/env bash
# The rules of the tree that a compiler does not see: folder levels, homes of outside headers, file sizes, leftovers.
# Prints one line per offence; exit 1 when there is any.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
offences=0

# offence WHY PATTERN FILE...: every matching line is one.
offence() {
  local why=$1 pattern=$2
  shift 2
  [ $# -eq 0 ] && return
  local hits
  hits=$(grep -nE "$pattern" "$@" /dev/null) || return
  while IFS= read -r hit; do echo "$why: $hit"; done <<< "$hits"
  offences=$((offences + $(wc -l <<< "$hits")))
}

# find_code FOLDER... : C++ and CUDA sources, one a line.
find_code() { find "$@" -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | sort; }

mapfile -t kernels < <(find_code kernels)
mapfile -t engine < <(find_code engine)
mapfile -t bench < <(find_code bench)
mapfile -t fuzz < <(find_code fuzz)
all=("${kernels[@]}" "${engine[@]}" "${bench[@]}" "${fuzz[@]}")
[ ${#all[@]} -gt 0 ] || { echo "no sources were found"; exit 1; }
mapfile -t headers < <(printf '%s\n' "${all[@]}" | grep -E '\.(h|cuh|cu)$' | grep -v '/tests/')

offence "kernels may not include engine or bench" '^ *# *include *"(engine|bench)/' "${kernels[@]}"
offence "engine may not include bench" '^ *# *include *"bench/' "${engine[@]}"
offence "nothing is built on the fuzzers" '^ *# *include *"fuzz/' "${kernels[@]}" "${engine[@]}" "${bench[@]}"
offence "include paths start at the root" '^ *# *include *"(\.|[^"/]*")' "${all[@]}"
offence "nlohmann/json.hpp stays out of headers" '^ *# *include *<nlohmann/json\.hpp>' "${headers[@]}"
offence "work that is not there is not announced" '\b(TODO|FIXME|XXX)\b' "${all[@]}"

# home HEADER-PATTERN PLACE-PATTERN: an outside header is included only where it lives.
home() {
  local elsewhere
  mapfile -t elsewhere < <(printf '%s\n' "${all[@]}" | grep -vE "^($2)")
  offence "only $2 may include $1" "^ *# *include *<$1" "${elsewhere[@]}"
}
home 'cuda[a-z0-9_]*\.h' 'kernels/cuda/'
home 'cublasLt\.h' 'kernels/cuda/cublaslt_check\.cpp'
home 'nvtx3/' 'kernels/nvtx_ranges\.cpp|kernels/tests/nvtx/'
home 'nccl\.h' 'engine/nccl/declarations_check\.cpp'
home 'cupti' 'bench/profile/cupti_check\.cpp'
home 'openssl/' '(engine|bench)/[a-z_/]*(sha256|hash)\.cpp'
home 'pcre2\.h' 'engine/|bench/regex\.cpp'
home 'utf8proc\.h' 'engine/'
home 'curl/' 'bench/targets/http_stream\.cpp'
home 'valijson/' 'bench/scenario'
home 'boost/' 'bench/|kernels/cuda/emulator/'
home 'sqlite3\.h' 'bench/history/sqlite\.cpp'
home 'benchmark/' 'bench/micro/'
home 'CLI/' 'bench/commands/command_line\.cpp'
home 'immintrin\.h' 'kernels/cpu/'

# Only commands print (progress and the reports' files aside); nothing below bench/ may exit.
mapfile -t quiet < <(printf '%s\n' "${kernels[@]}" "${engine[@]}" | grep -v '/tests/')
offence "kernels and engine do not print or exit" \
  'std::(cout|cerr)\b|\b(fmt|std)::print\(|[^a-z_f]printf\(|\bstd::(exit|abort|quick_exit)\(' "${quiet[@]}"

for file in "${all[@]}"; do
  lines=$(wc -l < "$file")
  [ "$lines" -le 500 ] || { echo "file too long: $file has $lines lines, 500 are allowed"; offences=$((offences + 1)); }
done
[ "$offences" -eq 0 ] || { echo "$offences offences"; exit 1; }
echo "${#all[@]} files keep the rules"
