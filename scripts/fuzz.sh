#!/usr/bin/env bash
# Runs every fuzz target of the project for a while, one after the other:
#
#   fuzz.sh TIME        such as 10s; each target gets this long
#
# go test fuzzes one target of one package at a time, hence this loop. A failing
# input is written to testdata/fuzz of its package, where go test finds it
# again; commit it together with the correction.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-$(scripts/find-go.sh)}
time=${1:?usage: fuzz.sh TIME}

# targets prints "DIRECTORY FUNCTION" for each fuzz target.
targets() {
    grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' pkg bpf 2>/dev/null |
        sed -E 's,^(.*)/[^/]*:func (.*)$,\1 \2,' | sort
}

failed=()
while read -r directory function; do
    printf -- '-- %s %s\n' "$directory" "$function"
    "$GO" test -run '^$' -fuzz "^$function\$" -fuzztime "$time" "./$directory" </dev/null ||
        failed+=("$directory/$function")
done < <(targets)
if [ ${#failed[@]} -gt 0 ]; then
    printf 'fuzz: %s\n' "${failed[*]}" >&2
    exit 1
fi
