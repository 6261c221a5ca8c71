#!/usr/bin/env bash
# A round on a Slurm site: one task a node starts Ray there, the first one plays the driver.
#
#   sbatch --nodes=4 slurm.sh tournaments/round.yaml
#
# .venv has the harness with its extra `ray`; it lies, like the output and the objects, on a file system that all nodes share.
# Most sites have no Docker engine. Without one only submissions that you trust can be played (--sandbox process);
# where nodes run Podman's service, DOCKER_HOST=unix:///run/user/$UID/podman/podman.sock stands for an engine.
#SBATCH --job-name=harness
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

TOURNAMENT=${1:?usage: sbatch slurm.sh TOURNAMENT.yaml}
SHARED=${SHARED:-$PWD/runs/cluster}
BIN=$PWD/.venv/bin
PORT=6379

mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${NODES[0]}
GPUS=${SLURM_GPUS_ON_NODE:-0}
# RAY_memory_...: else Ray ends and repeats calls while a node is nearly full; a call has its own limit.
export RAY_USAGE_STATS_ENABLED=0 RAY_memory_monitor_refresh_ms=0 HARNESS_NODE_FOLDER=${TMPDIR:-/tmp}/harness-$SLURM_JOB_ID
# A site has other users: whoever has not this token is not let in. srun hands the environment on.
RAY_AUTH_TOKEN=$("$BIN/python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

start() {  # NODE ARGUMENTS: Ray on that node, for as long as the job lasts
    srun --nodes=1 --ntasks=1 --nodelist="$1" "$BIN/ray" start "${@:2}" --block \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$GPUS" &
}

start "$HEAD" --head --port=$PORT
until "$BIN/ray" status --address="$HEAD:$PORT" >/dev/null 2>&1; do sleep 2; done
for node in "${NODES[@]:1}"; do start "$node" --address="$HEAD:$PORT"; done

# Stopped by the time limit or anything else, the same command goes on where it was.
"$BIN/harness" run "$TOURNAMENT" --executor ray --ray-address "$HEAD:$PORT" --objects "$SHARED/objects" --output-dir "$SHARED"
