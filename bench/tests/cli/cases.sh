# Sourced by cli_test.sh.

# Help is an answer, and every command shows an example.
expect 0 'Usage' --help
expect 0 '^[0-9]+\.[0-9]+' --version
for command in $("$crossover" --help | sed -n '/^Subcommands:/,$ s/^  \([a-z]\+\) .*/\1/p'); do
  expect 0 'Example' "$command" --help
done

# Bad usage: one line, exit 4.
expect 4 'crossover' 
expect 4 'crossover' no-such-command
expect 4 'crossover' list --no-such-option
expect 4 'crossover' cache
expect 4 'crossover' cache wipe

# list and cache
expect 0 'demo_decode +Small decode' list
expect 0 '0  bytes in' cache list
mkdir -p "$scratch/cache/model"
echo 123 > "$scratch/cache/model/part"
expect 0 ' 4  model' cache list
expect 4 'no tag of crossover' cache clear  # a folder that somebody else filled is left alone
[ -f "$scratch/cache/model/part" ] || complain "removed a folder that is not its own" cache clear

# knobs: the value and where it came from; what is unknown, empty or not allowed is refused.
expect 0 'CROSSOVER_GDN_PREFILL=chunked  \(default\)' knobs
CROSSOVER_GDN_PREFILL=recurrent expect 0 'CROSSOVER_GDN_PREFILL=recurrent  \(env\)' knobs
expect 0 '"name": "CROSSOVER_QUANT_SCHEDULE"' knobs --json
CROSSOVER_GDN_PREFIL=recurrent expect 4 'CROSSOVER_GDN_PREFILL' knobs
CROSSOVER_GDN_PREFILL='' expect 4 'empty' knobs
CROSSOVER_GDN_PREFILL=fast expect 4 'recurrent, chunked' knobs

# report: a file that is none gets one line.
expect 4 'missing.json' report "$scratch/missing.json" --out "$scratch/report"
echo '{"schema": "crossover.result/1"' > "$scratch/broken.json"
expect 4 'broken.json' report "$scratch/broken.json" --out "$scratch/report"
expect 4 'out' report "$scratch/broken.json"

# doctor: one JSON object with rates that a machine can have.
expect 0 '"read_1_bytes_per_s": [1-9]' doctor --json
python=$(command -v python3 || command -v jq || true)
case $python in
  *python3) "$python" -m json.tool "$scratch/out" > "$scratch/err" 2>&1 || complain "not JSON" doctor --json ;;
  *jq) "$python" . "$scratch/out" > "$scratch/err" 2>&1 || complain "not JSON" doctor --json ;;
esac
expect 0 '^read bandwidth ' doctor
expect 4 'noise' doctor --noise demo_decode  # what is not there is not offered
