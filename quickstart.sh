#!/usr/bin/env bash
# Run the full chain on the embedded data, on two CPU cores in minutes: SFT, reward model, PPO, both tables.
#
#   ./quickstart.sh [--seed N] [--kl X] [--precision bf16] [--fresh]
#
# makes its own virtual environment, then runs the documented scripts by the real launchers; only sizes and
# paths are overridden. Results: results/quickstart/. The same command resumes an interrupted run, --fresh starts over.
# --kl X trains PPO a second time, under another KL coefficient than the quickstart's own, and stops there.
# --precision P computes in bf16, fp16 or fp32, and keeps the results of each choice in a folder of its own.
set -euo pipefail
cd "$(dirname "$0")"

seed=1 fresh=false own_kl=0.05 precision=auto
kl=$own_kl
while (($#)); do
    case $1 in
        --seed) seed=${2:?--seed needs a number}; shift 2 ;;
        --kl) kl=${2:?--kl needs a number}; shift 2 ;;
        --precision) precision=${2:?--precision needs a name}; shift 2 ;;
        --fresh) fresh=true; shift ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "quickstart.sh: unknown argument $1 (--help shows them)" >&2; exit 2 ;;
    esac
done
[[ $seed =~ ^[0-9]+$ ]] || { echo "quickstart.sh: --seed needs a number, not '$seed'" >&2; exit 2; }
[[ $kl =~ ^[0-9]+(\.[0-9]+)?$ ]] || { echo "quickstart.sh: --kl needs a number such as 0.01, not '$kl'" >&2; exit 2; }
[[ $precision =~ ^(auto|bf16|fp16|fp32)$ ]] || {
    echo "quickstart.sh: --precision needs auto, bf16, fp16 or fp32, not '$precision'" >&2
    exit 2
}

. ./setup_env.sh requirements.txt

run=$PWD/results/quickstart/seed_$seed
if [[ $precision != auto ]]; then run=$PWD/results/quickstart/${precision}_seed_$seed; fi
model=$PWD/quickstart/model
tldr=$PWD/quickstart/data/openai_summarize_tldr
pairs=$PWD/quickstart/data/openai_summarize_comparisons
policy=ppo
if [[ $kl != "$own_kl" ]]; then policy=ppo_kl_$kl; fi
if $fresh && [[ $policy == ppo ]]; then rm -rf "$run"; fi
if $fresh; then rm -rf "$run/$policy" "$run/seconds/$policy"; fi
mkdir -p "$run/seconds"
# A port of our own: another training may hold the launchers' default.
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# stage NAME PRODUCT COMMAND…: run the command unless PRODUCT exists, and record the seconds it took.
stage() {
    local name=$1 product=$2 start=$SECONDS
    shift 2
    if [[ -e $product && -e $run/seconds/$name ]]; then
        printf '\n=== %s: done before (%s)\n' "$name" "${product#"$PWD"/}"
        return
    fi
    printf '\n=== %s\n' "$name"
    "$@"
    echo $((SECONDS - start)) >"$run/seconds/$name"
}

# Each stage in a subshell: SFT and reward model start in their own folder, as documented.
sft() (
    cd sft && deepspeed --log_level error --master_port "$port" train_gptj_summarize.py \
        --model "$model" --dataset "$tldr" --output_dir "$run/sft" --seed "$seed" --precision "$precision" \
        --report_to none --max_length 256 --loss_on summary --gradient_checkpointing False \
        --global_batch_size 32 --per_device_train_batch_size 32 --num_train_epochs 2 \
        --learning_rate 1e-3 --lr_scheduler_type linear --warmup_steps 20 --max_grad_norm 1.0 --keep last \
        --eval_steps 75 --logging_steps 10 --rouge_rows 100 --save_minutes 1
)

reward_model() (
    cd reward_model && deepspeed --log_level error --master_port "$port" train_reward_model_gptj.py \
        --model "$run/sft" --dataset "$pairs" --output_dir "$run/rm" --seed "$seed" --precision "$precision" \
        --report_to none --max_length 256 --trainable_fraction 1 \
        --global_batch_size 16 --per_device_train_batch_size 16 --num_train_epochs 1 \
        --learning_rate 5e-4 --lr_scheduler_type cosine --warmup_steps 20 --max_grad_norm 1.0 \
        --per_device_eval_batch_size 32 --eval_steps 100 --logging_steps 20 --save_minutes 1
)

ppo() {
    accelerate launch --main_process_port "$port" --config_file configs/default_accelerate_config.yaml \
        trlx_gptj_text_summarization.py "$(
        cat <<JSON
        {"model.model_path": "$run/sft", "task.reward_model": "$run/rm", "task.dataset": "$tldr",
         "task.max_train_prompts": 2048, "task.max_eval_prompts": 64, "train.seed": $seed, "train.checkpoint_dir": "$run/$policy",
         "train.precision": "$precision", "train.tracker": null, "train.seq_length": 256, "train.epochs": 16,
         "train.batch_size": 32, "train.minibatch_size": 32, "train.eval_interval": 64, "train.max_grad_norm": 1.0,
         "train.checkpoint_minutes": 1,
         "model.num_layers_unfrozen": 3, "method.num_rollouts": 128, "method.chunk_size": 64,
         "method.init_kl_coef": $kl, "optimizer.kwargs.lr": 6e-4, "scheduler.kwargs.eta_min": 6e-4}
JSON
    )"
}

reward_test() {
    local ceiling
    ceiling=$(python -c 'import json; print(json.load(open("quickstart/data/ceiling.json"))["test"])')
    python reward_model/gptj_reward_test.py --reward_model "$run/rm" --dataset "$pairs" --ceiling "$ceiling" \
        --precision "$precision" --output_dir "$run/reward_test"
    python -m reward_model.score --reward_model "$run/rm" --input quickstart/data/reading_probes.jsonl \
        --precision "$precision" --output "$run/reward_test/reading_probes.jsonl"
}

inference() {
    python trlx_inference_gptj.py --sft_model "$run/sft" --ppo_model "$run/ppo/best_checkpoint/hf_model" \
        --reward_model "$run/rm" --dataset "$tldr" --max_length 256 --decoding both --seed "$seed" \
        --precision "$precision" --gold quickstart.gold:gold_score --output_dir "$run/inference"
}

stage sft "$run/sft/run.json" sft
stage rm "$run/rm/run.json" reward_model
stage "$policy" "$run/$policy/best_checkpoint/hf_model/run.json" ppo
if [[ $policy != ppo ]]; then exit; fi
stage reward_test "$run/reward_test/reward_test.json" reward_test
stage inference "$run/inference/inference.json" inference
told=$(python -m summarize_rlhf.doctor "$run" --json "$run/doctor.json" | tail -n 1)
python -m quickstart.summarise_run "$run" --seed "$seed"
echo "$told"
