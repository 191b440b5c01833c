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
