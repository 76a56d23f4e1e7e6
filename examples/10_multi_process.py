"""One training run that several processes share: the same script, started once for each. Some 30 seconds.

    python examples/10_multi_process.py                             one process
    torchrun --nproc-per-node 2 examples/10_multi_process.py        two; on a machine with GPUs add --device cuda
    accelerate launch --multi_gpu examples/10_multi_process.py --device cuda    one for each GPU

All three learn the same from the same 64 episodes an update: the numbers are those of all processes together, and each
plays its share of the rows and computes its share of the gradient. The command does the same without a script:

    torchrun --nproc-per-node 2 -m dyngen_agents.cli train ppo
"""

import argparse

from dyngen_agents import PPOConfig, TrainConfig, from_launcher, read_metrics, train

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--updates", type=int, default=3)
parser.add_argument("--device", help='where models run; "cuda" gives each process a GPU of its own')
arguments = parser.parse_args()

processes = from_launcher()
config = TrainConfig(num_envs=64, episodes=64, updates=arguments.updates, device=arguments.device)
run = train(config, PPOConfig(minibatch_size=32))  # the same call everywhere; only the first process writes
if processes.first:
    for update in read_metrics(run):
        print(
            f"update {update['update']}: {processes.world_size} process(es), "
            f"{update['tokens_per_second']:.0f} tokens/s, reward {update['reward']:+.4f}, "
            f"gradient norm {update['grad_norm']:.4f}"
        )
processes.leave()
