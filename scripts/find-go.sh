#!/usr/bin/env bash
# Prints the path of a Go that can build Weir: the first in PATH, else in the
# places where Go is usually unpacked. sudo drops PATH, so the directories of
# the user who called sudo are searched too.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wanted=$(awk '$1 == "go" { print $2 }' "$root/go.mod")

candidates() {
    type -ap go || true
    local user home
    for home in "${HOME:-/root}" $(for user in ${SUDO_USER:-}; do getent passwd "$user" | cut -d: -f6; done); do
        printf '%s\n' "$home"/{go,.local/go,sdk/go*}/bin/go "$home"/.go/bin/go
    done
    printf '%s\n' /usr/local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-*/bin/go /snap/bin/go
}

# at_least says whether version $1 is $2 or newer.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

tried=()
while IFS= read -r go; do
    [ -x "$go" ] || continue
    # Asked inside the project, Go answers with the version that go.mod makes
    # it switch to, if it may.
    version=$(cd "$root" && "$go" env GOVERSION 2>/dev/null) || continue
    version=${version#go}
    if at_least "${version%% *}" "$wanted"; then
        printf '%s\n' "$go"
        exit 0
    fi
    tried+=("$go is $version")
done < <(candidates | awk '!seen[$0]++')

{
    printf 'Go %s or newer is needed' "$wanted"
    if [ ${#tried[@]} -gt 0 ]; then
        printf ' (%s' "${tried[0]}"
        [ ${#tried[@]} -eq 1 ] || printf ', %s' "${tried[@]:1}"
        printf ')'
    fi
    printf ': unpack it to /usr/local/go as https://go.dev/doc/install says, or put its bin directory into PATH.'
    printf ' A Go of 1.21 or newer from a distribution will do if GOTOOLCHAIN=auto lets it fetch that version.\n'
} >&2
exit 1
