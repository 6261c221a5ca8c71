#!/bin/bash
# The library looks for the program git when it is imported; it is not needed here.
export GIT_PYTHON_REFRESH=quiet
exec python3 "$(dirname "$0")/attack.py" "$@"
