#!/usr/bin/env bash
# Runs the linters named, or all of them, and fails if one of them found
# something; the others still run, so that one run shows everything.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
GO=${GO:-$(scripts/find-go.sh)}
CLANG_FORMAT=${CLANG_FORMAT:-clang-format-19}
all=(gofmt vet staticcheck layers clang-format shellcheck)

# tool NAME ARG... runs a Go tool at the version that scripts/tools pins.
tool() {
    local path
    path=$("$GO" -C scripts/tools tool -n "$1") || return
    shift
    "$path" "$@"
}

lint_gofmt() {
    local unformatted
    unformatted=$("$("$GO" env GOROOT)/bin/gofmt" -l bpf cmd pkg scripts) || return
    [ -n "$unformatted" ] || return 0
    printf '%s\n' "$unformatted" "run: gofmt -w FILE" >&2
    return 1
}

lint_vet() { "$GO" vet ./...; }

lint_staticcheck() { tool staticcheck ./...; }

# The rules are in .depguard.yaml.
lint_layers() { tool depguard ./...; }

lint_clang-format() {
    local -a files
    mapfile -t files < <(find bpf pkg -name '*.[ch]')
    [ ${#files[@]} -gt 0 ] || return 0
    if ! "$CLANG_FORMAT" --dry-run -Werror "${files[@]}"; then
        printf 'run: %s -i FILE\n' "$CLANG_FORMAT" >&2
        return 1
    fi
}

lint_shellcheck() { shellcheck .ci/run scripts/*.sh; }

failed=()
for name in "${@:-${all[@]}}"; do
    printf -- '-- %s\n' "$name"
    "lint_$name" || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'lint: %s\n' "${failed[*]}" >&2
    exit 1
fi
