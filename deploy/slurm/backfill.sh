#!/bin/bash
# A long backfill by the tasks of an array: sbatch deploy/slurm/backfill.sh <first date> <last date>
# Each task does the days of its shard, and the last one to end does what belongs to the whole lake. To do a task again, keep the
# number of shards and the id of the first array: TELELAKE_SHARDS=4 TELELAKE_JOB=<id> sbatch --array=2 deploy/slurm/backfill.sh …
#SBATCH --job-name=telelake-backfill
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --requeue
# SIGTERM 15 s before the end of the time limit: telelake ends cleanly within 10 s.
#SBATCH --signal=B:TERM@15
set -u
telelake --quiet --log-format json backfill --shard auto --from "$1" --to "$2" --yes &
program=$!
trap 'kill -TERM $program' TERM
wait $program
status=$?
# A signal ends the first wait.
while kill -0 $program 2>/dev/null; do wait $program; status=$?; done
# 1, 3 (done in part) and 4 (out of reach) are tried again, up to three times. 2 needs a person first.
if { [ "$status" = 1 ] || [ "$status" = 3 ] || [ "$status" = 4 ]; } && [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
