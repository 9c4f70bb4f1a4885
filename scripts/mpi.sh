#!/bin/sh
# Tests the engine of shared/comm for processes: everything that ranks can ask for, on 2
# and 4 processes, is compared bit by bit with what threads make of it; and each of a
# table of failures must end in time, with the right words from every rank.
#
#     scripts/mpi.sh                    # all cases
#     scripts/mpi.sh parity one_panics  # these
#
# Needs Open MPI and, to build its bindings, libclang:
#     apt-get install openmpi-bin libopenmpi-dev libclang-dev clang
# Exit status 3: there is no mpirun.
set -eu
cd "$(dirname "$0")/.."

if ! command -v mpirun >/dev/null; then
    echo 'mpirun cannot be found: install Open MPI (the head of this script says how)' >&2
    exit 3
fi
exec cargo test --locked --package comm --features mpi --test mpi -- "$@"
