#!/usr/bin/env bash
# Trains with torchrun, one process a GPU, on one node or several. All words go to mobanet.fit.
#
#   bash experiments/cluster/torchrun.sh --experiment potsdam_irrgb_dsm --run runs/potsdam
#   NPROC=2 bash experiments/cluster/torchrun.sh --experiment … --run runs/potsdam --accelerator cpu
#
# On several nodes, the same line on each, with a rank of its own, in a folder that all of them see:
#
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=node0 bash experiments/cluster/torchrun.sh --experiment … --run runs/potsdam
#   NNODES=2 NODE_RANK=1 MASTER_ADDR=node0 bash experiments/cluster/torchrun.sh --experiment … --run runs/potsdam
#
# A run that is told to end (Ctrl-C, SIGTERM) saves first, and says how to go on with it; what torchrun has to say of
# itself follows, with code 1.
#
# NNODES       number of nodes (1)
# NODE_RANK    which of them this is, from 0
# MASTER_ADDR  name or address of node 0
# MASTER_PORT  a port that is free on node 0 (29500)
# NPROC        processes on each node (as many as torch sees GPUs here, 1 without any)
# PYTHON       interpreter (python)
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 2
}

PYTHON=${PYTHON:-python}
NNODES=${NNODES:-1}
if [[ ! $NNODES =~ ^[1-9][0-9]*$ ]]; then
    fail "NNODES is $NNODES; give the number of nodes."
elif ((NNODES > 1)); then
    # a name by the time could be another one on another node
    [[ " $* " == *" --run "* || " $* " == *" --run="* ]] ||
        fail "several nodes need one run folder; give it to all of them with --run DIR."
    [[ ${NODE_RANK:-} =~ ^[0-9]+$ && ${NODE_RANK:-} -lt $NNODES ]] ||
        fail "NODE_RANK is ${NODE_RANK:-not set}; set it to a number of its own on each node, from 0 to $((NNODES - 1))."
    [[ -n ${MASTER_ADDR:-} ]] || fail "MASTER_ADDR is not set; set it to the name of node 0 on all nodes."
    meeting=(--nnodes "$NNODES" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}")
else
    meeting=(--standalone)
fi
NPROC=${NPROC:-$("$PYTHON" -c "import torch; print(max(torch.cuda.device_count(), 1))")}
[[ $NPROC =~ ^[1-9][0-9]*$ ]] || fail "NPROC is $NPROC; give the number of processes on each node."

# torchrun takes --run for one of its own options, cut short, unless dashes stand before the module
exec "$PYTHON" -m torch.distributed.run "${meeting[@]}" --nproc_per_node "$NPROC" -m -- mobanet.fit \
    --devices "$NPROC" --trainer.num_nodes "$NNODES" --trainer.strategy ddp "$@"
