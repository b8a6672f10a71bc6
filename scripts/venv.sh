# Sourced by run and test, which set $root: makes .venv, or finds that there is nothing to do.
# POSIX sh. All that is said goes to standard error; exit status 3 means that something is missing.

venv=$root/.venv

# ensure_venv EXTRAS: the project is installed in .venv, with its extras (may be empty).
# The stamp holds what the installation depends on: where it is, and the words of pyproject.toml.
ensure_venv() {
    stamp="$root $(cksum <"$root/pyproject.toml")"
    stamp_file=$venv/installed${1:+-$1}
    if [ -r "$stamp_file" ] && [ -x "$venv/bin/python" ]; then
        IFS= read -r installed <"$stamp_file" || :
        [ "$installed" = "$stamp" ] && return
    fi
    find_python
    PYTHONPATH=$root "$python" -P -m scripts.bootstrap "$root" "$stamp" "$1" >&2 || exit $?
}

# The first Python that will do, as $python. One that lacks only venv is told how to get it.
find_python() {
    lacking=
    for python in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        "$python" -c 'import ensurepip, venv' 2>/dev/null && return
        lacking=${lacking:-$python}
    done
    case $lacking in
        '') what='Python 3.11 or newer is not installed' packages='python3 python3-venv' ;;
        python3.*) what="$lacking has no venv module" packages=$lacking-venv ;;
        *) what="$lacking has no venv module" packages=python3-venv ;;
    esac
    if [ -n "${install_python:-}" ]; then
        install_packages $packages && install_python= && find_python && return
    fi
    echo "${0##*/}: $what; install it with: $(install_line $packages)" >&2
    exit 3
}

# The line that installs Debian packages here: what inspector/doctor.py says, for where there is no Python yet.
install_line() {
    sudo='sudo '
    [ "$(id -u)" -eq 0 ] && sudo=
    update="${sudo}apt-get update; "
    for list in /var/lib/apt/lists/*Packages*; do
        [ -e "$list" ] && update=
        break
    done
    echo "$update${sudo}apt-get install -y --no-install-recommends $*"
}

# Install Debian packages where we may: as root, or where sudo asks for nothing.
install_packages() {
    command -v apt-get >/dev/null || return 1
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null </dev/null || return 1
        sudo='sudo -n'
    fi
    echo "${0##*/}: installing $*" >&2
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    $sudo apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 </dev/null && return
    $sudo apt-get update -q >/dev/null 2>&1 </dev/null || : # a source that has nothing to do with us may fail
    $sudo apt-get install -y -q --no-install-recommends "$@" >&2 </dev/null
}
