"""Token records for tests, one tf.train.Example after the other."""

import tensorflow as tf

from mobilebert_tf.data import raw_text


def write(path, text_file, tokenizer, max_seq_length):
    """Writes the pairs of a text as token records."""
    options = raw_text.PairOptions(max_seq_length, seed=1)
    stream = raw_text.open_stream([text_file], tokenizer, options)
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(stream.num_blocks):
            block = stream.block_in_order(number)
            for row in range(len(block["input_ids"])):
                example = tf.train.Example()
                for name, values in block.items():
                    feature = example.features.feature[name]
                    feature.int64_list.value.extend(values[row].tolist())
                writer.write(example.SerializeToString())
