"""Updates on two devices, in two parts each; run by gradient_steps_test.py."""

import numpy as np
import tensorflow as tf
import tf_keras

from tests.tasks import regression_task


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        task = regression_task.RegressionTask(2)
        model = regression_task.make_model()
        optimizer = tf_keras.optimizers.legacy.SGD(1.0)

    @tf.function
    def distributed_step(inputs):
        losses = strategy.run(
            lambda batch: task.train_step(batch, model, optimizer)[task.loss],
            args=(inputs,),
        )
        return strategy.reduce("MEAN", losses, axis=None)

    def step(inputs):
        dataset = tf.data.Dataset.from_tensor_slices(inputs).batch(8)
        (batch,) = strategy.experimental_distribute_dataset(dataset)
        return float(distributed_step(batch))

    inputs = regression_task.make_inputs()
    loss, kernel, bias = regression_task.expected_update(inputs)
    before = model.get_weights()
    np.testing.assert_allclose(step(inputs), loss, rtol=1e-5)
    after = model.get_weights()
    np.testing.assert_allclose(
        (before[0] - after[0])[:, 0], kernel, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(before[1] - after[1], [bias], rtol=1e-5)

    # The second replica's part alone is bad; neither may be updated.
    inputs["y"][7, 0] = np.nan
    step(inputs)
    for one, other in zip(model.get_weights(), after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert task.guard.num_refused == 1
    assert task.guard.reason == "loss term error is nan"


if __name__ == "__main__":
    main()
