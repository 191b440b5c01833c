# Sourced by demo.sh and test.sh: says what failed in one line, and brings in the Debian packages of the build.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
jobs=$(nproc)
build_packages=(cmake ninja-build g++ nlohmann-json3-dev libcli11-dev libfmt-dev libboost-math-dev
  libpcre2-dev libutf8proc-dev libvalijson-dev libssl-dev libcurl4-openssl-dev libsqlite3-dev liburing-dev libxxhash-dev gnuplot-nox)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 4
}

# need_packages NAME...: installs what is missing, and needs neither network nor privileges when nothing is.
need_packages() {
  local missing=() package as_root=()
  if ! command -v dpkg-query > /dev/null; then  # not Debian: CMake names what it does not find
    command -v cmake > /dev/null && command -v ninja > /dev/null && return
    fail "missing cmake or ninja, and this is not Debian; install these or their like: $*"
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null && sudo -n true 2> /dev/null ||
      fail "missing packages; run as root: apt-get install ${missing[*]}"
    as_root=(sudo -n)
  fi
  echo "installing ${missing[*]}" >&2
  local log
  log=$(mktemp)
  "${as_root[@]}" apt-get update > "$log" 2>&1 || true  # a stale index may still know the packages
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" \
    >> "$log" 2>&1 || fail "could not install ${missing[*]}: $(grep '^E:' "$log" | tail -1), see $log"
  rm -f "$log"
}

# build FOLDER TARGETS OPTION...: configures and builds; quiet unless something fails. TARGETS: one, or several on lines of their own.
build() {
  local folder=$1 targets log
  mapfile -t targets <<< "$2"
  shift 2
  mkdir -p "$folder" || fail "cannot make the build folder $folder"
  log=$folder/build.log
  echo "building in $folder (log: $log)" >&2
  cmake -S "$root" -B "$folder" -G Ninja "$@" > "$log" 2>&1 || { tail -20 "$log" >&2; fail "cmake failed, see $log"; }
  cmake --build "$folder" --target "${targets[@]}" -j "$jobs" >> "$log" 2>&1 ||
    { grep -m 20 -A 8 -E 'error|FAILED' "$log" >&2 || true; fail "the build failed, see $log"; }
}
