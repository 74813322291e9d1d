"""Experiment configuration of learning a task from a fine-tuned teacher."""

import dataclasses

from official.modeling.hyperparams import base_config


@dataclasses.dataclass
class TaskDistillationConfig(base_config.Config):
    """Task distillation: fine-tuning on a fine-tuned teacher's outputs.

    Names are those of pre-training's DistillationConfig and
    KnowledgeTransferConfig.

    Attributes:
        teacher_dir: str. Folder of a model that was fine-tuned on the same
            task; "" trains without.
        ground_truth_ratio: float in [0, 1]. alpha: the weight of the task's
            labels; 1 - alpha goes to the teacher's outputs.
        temperature: float > 0. Divides both models' logits; not the values of
            a regression.
        feature_map_factor: float. Weight of feature-map transfer from block
            to block; 0 does without.
        attention_factor: float. Weight of attention transfer; 0 does without.
        layer_mapping: str. Which block of the teacher a block of the student
            learns from: "one_to_one"; "every_k" (the last of each group of k,
            for a teacher of k times the blocks); "explicit".
        teacher_layers: list of int. With "explicit", the teacher's block
            (0-based) for each block of the student.
    """

    teacher_dir: str = ""
    ground_truth_ratio: float = 0.5
    temperature: float = 1.0
    feature_map_factor: float = 0.0
    attention_factor: float = 0.0
    layer_mapping: str = "one_to_one"
    teacher_layers: list[int] = dataclasses.field(default_factory=list)
