#!/usr/bin/env bash
# Runs a compiler and keeps what it said beside its object file (OBJECT.report), for check_spills.sh.
object=
for ((i = 1; i < $#; ++i)); do
  [ "${!i}" = -o ] && next=$((i + 1)) && object=${!next}
done
[ -n "$object" ] || exec "$@"
"$@" > "$object.report" 2>&1
code=$?
[ $code -eq 0 ] || cat "$object.report" >&2
exit $code
