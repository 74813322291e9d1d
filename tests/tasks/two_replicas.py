"""Updates on two devices; run by gradient_steps_test.py."""

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
    inputs = regression_task.make_inputs()
    loss, kernel, bias = regression_task.expected_update(inputs)
    for count in (1, 2):
        with strategy.scope():
            task = regression_task.RegressionTask(count)
            model = regression_task.make_model()
            optimizer = tf_keras.optimizers.legacy.SGD(1.0)
        before = model.get_weights()

        def replica_step(inputs, task=task, model=model, optimizer=optimizer):
            return task.train_step(inputs, model, optimizer)[task.loss]

        @tf.function
        def step(inputs, replica_step=replica_step):
            losses = strategy.run(replica_step, args=(inputs,))
            return strategy.reduce("MEAN", losses, axis=None)

        def distribute(inputs):
            (batch,) = strategy.experimental_distribute_dataset(
                tf.data.Dataset.from_tensor_slices(inputs).batch(8)
            )
            return batch

        reported = step(distribute(inputs))
        after = model.get_weights()
        np.testing.assert_allclose(
            (before[0] - after[0])[:, 0], kernel, rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(before[1] - after[1], [bias], rtol=1e-5)
        np.testing.assert_allclose(float(reported), loss, rtol=1e-5)

        # The second replica's part alone is bad; neither may be updated.
        poisoned = {**inputs, "y": inputs["y"].copy()}
        poisoned["y"][7, 0] = np.nan
        step(distribute(poisoned))
        for one, other in zip(model.get_weights(), after, strict=True):
            np.testing.assert_array_equal(one, other)
        assert task.guard.num_refused == 1
        assert task.guard.reason == "loss term error is nan"


if __name__ == "__main__":
    main()
