//! Names that people bring from TRL, EasyR1, verl and ms-swift, answered with ours.

/// Their name, and where the setting is here. Keys of a phase stand without its name.
const NAMES: &[(&str, &str)] = &[
    ("adam_beta1", "optimizer.beta1"),
    ("adam_beta2", "optimizer.beta2"),
    ("adam_epsilon", "optimizer.eps"),
    ("beta", "kl_coef"),
    ("bf16", "dtype = \"bf16\" of [model]"),
    ("clip_ratio", "clip_low and clip_high"),
    ("cliprange", "clip_low and clip_high"),
    ("dataset_name", "data, a table [data.NAME]"),
    ("early_stopping_patience", "validation.patience of a phase"),
    ("epsilon", "clip_low"),
    ("epsilon_high", "clip_high"),
    ("eval_steps", "validation.every of a phase"),
    ("fp16", "dtype = \"fp16\" of [model]"),
    ("global_batch_size", "prompts_per_step (grpo) or batch_size (sft)"),
    ("gradient_accumulation_steps", "micro_batch_tokens, which divides a step by its tokens"),
    ("gradient_checkpointing", "recompute"),
    ("kl_coeff", "kl_coef"),
    ("learning_rate", "lr"),
    ("load_best_model_at_end", "validation.keep = \"best\" of a phase"),
    ("logging_steps", "nothing: every step is in metrics.jsonl"),
    ("lora_alpha", "alpha of [model.lora]"),
    ("lora_dropout", "dropout of [model.lora]"),
    ("lora_r", "rank of [model.lora]"),
    ("lora_rank", "rank of [model.lora]"),
    ("loss_type", "loss = { type = \"...\" }"),
    ("lr_scheduler_type", "optimizer.schedule"),
    ("mask_truncated_completions", "cut_answers = \"mask\""),
    ("max_completion_length", "sampling.max_new_tokens"),
    ("max_length", "sampling.max_new_tokens, or max_prompt_tokens of [data.NAME]"),
    ("max_prompt_length", "max_prompt_tokens of [data.NAME]"),
    ("max_response_length", "sampling.max_new_tokens"),
    ("max_steps", "steps"),
    ("model_name_or_path", "path of [model]"),
    ("n", "sampling.group_size"),
    ("num_epochs", "epochs, or steps"),
    ("num_generations", "sampling.group_size"),
    ("num_iterations", "updates_per_batch"),
    ("num_train_epochs", "epochs, or steps"),
    ("output_dir", "name of [run], or --runs"),
    ("per_device_train_batch_size", "prompts_per_step (grpo) or batch_size (sft)"),
    ("ppo_epochs", "updates_per_batch"),
    ("reward_funcs", "reward"),
    ("rollout_batch_size", "prompts_per_step"),
    ("save_steps", "checkpoint_every of [run]"),
    ("scale_rewards", "advantage = { type = \"...\" }"),
    ("torch_dtype", "dtype of [model]"),
    ("total_epochs", "epochs, or steps"),
    ("train_batch_size", "prompts_per_step (grpo) or batch_size (sft)"),
    ("train_files", "path of [data.NAME]"),
    ("use_peft", "[model.lora]"),
    ("warmup_ratio", "optimizer.warmup, a share of the steps"),
    ("warmup_steps", "optimizer.warmup, a share of the steps"),
];

/// `; here it is ...`, for a name of another project's, or for one of ours that belongs deeper.
pub(crate) fn translation(name: &str) -> Option<String> {
    let words = NAMES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)?;
    Some(format!("; what others call so is here {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(translation("learning_rate").unwrap(), "; what others call so is here lr");
        assert_eq!(translation("lr"), None);
    }
}
