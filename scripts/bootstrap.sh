#!/usr/bin/env bash
# Installs what is missing on this machine for what is asked:
#
#   bootstrap.sh run       build and run Weir: Go, and certificates to fetch modules
#   bootstrap.sh develop   also generate, lint and test: clang 19, headers, linters
#   bootstrap.sh bench     what run needs
#   bootstrap.sh vm        test on other kernels: qemu
#
# Several words may be given. On Debian and Ubuntu the packages are installed,
# which needs root; elsewhere they are named. Go is never installed, only looked
# for. Nothing is changed, and no network used, when everything is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# What is missing, as the packages of Debian, Fedora and Arch are called.
debian=() fedora=() arch=()

# need PROBE DEBIAN FEDORA ARCH: PROBE is a command, or a file when it has a
# slash (of several, separated by spaces, one is enough). "-": the distribution
# has it in any case.
need() {
    local probe
    for probe in $1; do
        case $probe in
        */*) [ ! -e "$probe" ] || return 0 ;;
        *) ! command -v "$probe" >/dev/null || return 0 ;;
        esac
    done
    debian+=("$2") fedora+=("$3") arch+=("$4")
}

need_run() {
    "$here/find-go.sh" >/dev/null || exit 1
    need "/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt" \
        ca-certificates ca-certificates ca-certificates
}

need_develop() {
    need_run
    need make make make make
    need git git git git
    # The race detector links with the C library.
    need gcc gcc gcc gcc
    need /usr/include/stdlib.h libc6-dev glibc-devel glibc
    need "${CLANG:-clang-19}" clang-19 clang clang
    need "${LLVM_STRIP:-llvm-strip-19}" llvm-19 llvm llvm
    need "${CLANG_FORMAT:-clang-format-19}" clang-format-19 clang-tools-extra clang
    need /usr/include/bpf/bpf_helpers.h libbpf-dev libbpf-devel libbpf
    need /usr/include/linux/bpf.h linux-libc-dev kernel-headers linux-api-headers
    need shellcheck shellcheck ShellCheck shellcheck
    need ip iproute2 iproute iproute2
    need curl curl curl curl
    # What the README's quick starts use besides, which a test does as written.
    need ethtool ethtool ethtool ethtool
    need python3 python3 python3 python
    need nsenter util-linux util-linux util-linux
}

need_vm() {
    need_run
    need qemu-system-x86_64 qemu-system-x86 qemu-system-x86-core qemu-system-x86
    need depmod kmod kmod kmod
    need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring debian-keyring debian-archive-keyring
    need dpkg-deb dpkg dpkg dpkg
    need apt-get apt apt apt
}

# install_debian installs the missing packages with apt.
install_debian() {
    local -a packages unknown=()
    local package
    mapfile -t packages < <(printf '%s\n' "${debian[@]}" | sort -u)
    if [ "$(id -u)" -ne 0 ]; then
        printf 'missing: %s: run as root, or: sudo apt-get install %s\n' \
            "${packages[*]}" "${packages[*]}" >&2
        exit 1
    fi
    printf 'installing %s\n' "${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # A third-party source that does not answer is not yet a reason to give up.
    apt-get -qq -o DPkg::Lock::Timeout=120 update ||
        printf 'apt-get update had trouble; going on with the package lists there are\n' >&2
    for package in "${packages[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 || unknown+=("$package")
    done
    if [ ${#unknown[@]} -gt 0 ]; then
        printf 'no package %s here: Debian 12, Ubuntu 24.04 and newer have it; see CONTRIBUTING.md\n' \
            "${unknown[*]}" >&2
        exit 1
    fi
    apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${packages[@]}"
}

# advise_elsewhere names the packages for a distribution without apt, and fails.
advise_elsewhere() {
    local family
    # shellcheck source=/dev/null
    family=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-}" "${ID_LIKE:-}") || true
    case " $family " in
    *" fedora "* | *" rhel "*)
        printf 'missing; run: dnf install %s\n' "${fedora[*]}" >&2
        ;;
    *" arch "*)
        printf 'missing; run: pacman -S --needed %s\n' "${arch[*]}" >&2
        ;;
    *)
        printf 'missing; install what Debian calls: %s\n' "${debian[*]}" >&2
        ;;
    esac
    printf 'LLVM must be version 19; where its commands have no -19, say so: make CLANG=clang LLVM_STRIP=llvm-strip CLANG_FORMAT=clang-format\n' >&2
    exit 1
}

# look collects what is missing for the words given.
look() {
    debian=() fedora=() arch=()
    hash -r
    local word
    for word in "$@"; do
        case $word in
        run | bench) need_run ;;
        develop) need_develop ;;
        vm) need_vm ;;
        *)
            printf '%s: there is run, develop, bench and vm\n' "$word" >&2
            exit 2
            ;;
        esac
    done
}

main() {
    if [ $# -eq 0 ]; then
        printf 'usage: bootstrap.sh run|develop|bench|vm ...\n' >&2
        exit 2
    fi
    # Not in the PATH of everyone, though the commands may be there.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    look "$@"
    if [ ${#debian[@]} -gt 0 ]; then
        if command -v apt-get >/dev/null; then
            install_debian
        else
            advise_elsewhere
        fi
        look "$@"
        if [ ${#debian[@]} -gt 0 ]; then
            printf 'still missing what these packages should bring: %s\n' "${debian[*]}" >&2
            exit 1
        fi
    fi
    printf 'bootstrap %s: everything is there\n' "$*"
}

main "$@"
