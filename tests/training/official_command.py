"""The official script's flags, and the command of its README."""

# google-research/mobilebert, run_pretraining.py.
ALL_FLAGS = """
input_file bert_config_file output_dir init_checkpoint max_seq_length
max_predictions_per_seq do_train do_eval train_batch_size eval_batch_size
learning_rate num_train_steps num_warmup_steps save_checkpoints_steps
iterations_per_loop max_eval_steps use_tpu tpu_name tpu_zone gcp_project
master use_einsum use_summary bert_teacher_config_file first_input_file
first_max_seq_length first_train_batch_size first_num_train_steps optimizer
layer_wise_warmup num_distill_steps distill_temperature
distill_ground_truth_ratio attention_distill_factor hidden_distill_factor
gamma_distill_factor beta_distill_factor weight_decay_rate num_tpu_cores
""".split()


def distillation(
    teacher_config: str,
    student_config: str,
    output_dir: str,
    teacher_checkpoint: str = "teacher_checkpoint",
    input_file: str = "records",
) -> list[str]:
    """Returns the README's distillation, full scale, every flag given."""
    return [
        "run_pretraining",
        "--attention_distill_factor=1",
        f"--bert_config_file={student_config}",
        f"--bert_teacher_config_file={teacher_config}",
        "--beta_distill_factor=5000",
        "--distill_ground_truth_ratio=0.5",
        "--distill_temperature=1",
        "--do_train",
        "--do_eval=false",
        "--eval_batch_size=8",
        f"--first_input_file={input_file}",
        "--first_max_seq_length=128",
        "--first_num_train_steps=0",
        "--first_train_batch_size=4096",
        "--gamma_distill_factor=5",
        "--gcp_project=project",
        "--hidden_distill_factor=100",
        f"--init_checkpoint={teacher_checkpoint}",
        f"--input_file={input_file}",
        "--iterations_per_loop=1000",
        "--layer_wise_warmup",
        "--learning_rate=0.0015",
        "--master=",
        "--max_eval_steps=100",
        "--max_predictions_per_seq=20",
        "--max_seq_length=512",
        "--num_distill_steps=240000",
        "--num_tpu_cores=256",
        "--num_train_steps=500000",
        "--num_warmup_steps=10000",
        "--optimizer=lamb",
        f"--output_dir={output_dir}",
        "--save_checkpoints_steps=1000",
        "--tpu_name=tpu",
        "--tpu_zone=zone",
        "--train_batch_size=2048",
        "--use_einsum",
        "--use_summary",
        "--use_tpu",
        "--weight_decay_rate=0.01",
    ]
