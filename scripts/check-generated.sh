#!/usr/bin/env bash
# Fails when the generated files in the tree are not what `make generate` makes
# of the sources. The tree itself is not touched: a copy is regenerated.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

copy=$work/weir
mkdir "$copy"
tar -C "$root" --exclude=./.git --exclude=./bin -cf - . | tar -C "$copy" -xf -

sums() {
    (cd "$copy" && find . -type f -exec sha256sum {} + | sort -k 2)
}

sums >"$work/before"
if ! make -C "$copy" --no-print-directory generate >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
sums >"$work/after"

mapfile -t changed < <(diff "$work/before" "$work/after" | awk '/^[<>]/ { print $3 }' | sort -u)
if [ ${#changed[@]} -gt 0 ]; then
    printf 'make generate would change:\n' >&2
    printf '  %s\n' "${changed[@]#./}" >&2
    printf "run 'make generate' and commit the result (objects are built with Debian's clang 19.1.7; this is %s)\n" \
        "$("${CLANG:-clang-19}" --version | head -n 1)" >&2
    exit 1
fi
printf 'generated files are up to date\n'
