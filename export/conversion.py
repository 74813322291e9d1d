"""A float32 .tflite file from the deployment graph."""

import tensorflow as tf


def convert(module: tf.Module) -> bytes:
    """Converts the `serve` function of `module` to a float32 .tflite.

    Args:
        module: what `inference_graph.make_module` returns.

    Returns:
        The file's content, with one signature.

    Raises:
        ValueError: if the converter fails.
    """
    function = module.serve.get_concrete_function()
    # Without the trackable object no signature would be written.
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function], module
    )
    try:
        return converter.convert()
    except Exception as error:
        # The converter raises classes of its own, some of them plain
        # Exceptions.
        raise ValueError(f"conversion failed: {error}") from error
