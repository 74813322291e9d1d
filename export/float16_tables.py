"""float16 embedding tables, which ai-edge-quantizer's float casting leaves out.

A recipe's rule for them, GATHER, needs `skip_checks`: the check has a list of
operators of its own.
"""

import numpy as np
from ai_edge_quantizer import algorithm_manager
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.nonlinear_quantize import float_casting
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

_NUM_BITS = 16


def register() -> None:
    """Makes ai-edge-quantizer's float casting take GATHERs."""
    algorithm_manager.register_quantized_op(
        algorithm_manager.AlgorithmName.FLOAT_CASTING,
        qtyping.TFLOperationName.GATHER,
        float_casting.init_qsvs,
        float_casting.calibrate,
        _materialize_gather,
    )


def _materialize_gather(
    op_info, graph_info, tensor_name_to_qsv, tensor_quant_params_cache
):
    """Returns what becomes of a GATHER's table, indices and output.

    The table, a constant, is stored in float16 and unpacked when the file is
    loaded. Arguments and result are those that ai-edge-quantizer asks for.
    """
    del tensor_name_to_qsv, tensor_quant_params_cache
    operator = op_info.op
    table, indices = (graph_info.subgraph_tensors[i] for i in operator.inputs)
    output = graph_info.subgraph_tensors[operator.outputs[0]]
    values = tfl_flatbuffer_utils.get_tensor_data(table, graph_info.buffers)
    as_is = qtyping.OpToTensorParams(
        op_info.subgraph_op_index,
        transformations=[qtyping.QuantTransformation.NO_QUANTIZE],
    )
    cast = as_is
    if values is not None and values.dtype == np.float32:
        cast = qtyping.OpToTensorParams(
            op_info.subgraph_op_index,
            transformations=[qtyping.QuantTransformation.ADD_DEQUANTIZE],
            parameters=qtyping.NonLinearQuantParams(
                num_bits=_NUM_BITS, quantized_data=values.astype(np.float16)
            ),
        )
    return [
        _params(table, consumers=[cast]),
        _params(indices, consumers=[as_is]),
        _params(output, producer=as_is),
    ]


def _params(tensor, **of_operator):
    name = tfl_flatbuffer_utils.get_tensor_name(tensor)
    return qtyping.TensorTransformationParams(name, **of_operator)
