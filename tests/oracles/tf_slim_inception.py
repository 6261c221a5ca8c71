"""Logits of TF-slim's own graphs with random weights, through a checkpoint on disk, for the normal tests.

Usage: tf_slim_inception.py [NETS]. Inception v3 is part of the package tf-slim. Inception v4 and Inception
ResNet v2 need NETS, a checkout of a folder that holds TF-slim's `nets` as a package (research/slim of
github.com/tensorflow/models, or github.com/ylhz/tf_to_pytorch_model).
"""

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import keras.src.legacy_tf_layers
import tensorflow as tf
from fixtures import difference, save
from random_weights import pictures, random_array

# Keras 2.13 has these modules under another name than the one that tf-slim 1.1.0 asks for.
sys.modules["keras.legacy_tf_layers"] = keras.src.legacy_tf_layers
for module in pkgutil.iter_modules(keras.src.legacy_tf_layers.__path__):
    found = importlib.import_module(f"keras.src.legacy_tf_layers.{module.name}")
    sys.modules[f"keras.legacy_tf_layers.{module.name}"] = found

import tf_slim  # noqa: E402
from tf_slim.nets import inception_v3  # noqa: E402

v1 = tf.compat.v1


def main():
    v1.disable_eager_execution()
    check("inception_v3", inception_v3.inception_v3, inception_v3.inception_v3_arg_scope)
    if len(sys.argv) > 1:
        sys.path.insert(0, sys.argv[1])
        # The nets of 2017 look for these where TensorFlow 1 had them.
        tf.contrib = SimpleNamespace(slim=tf_slim)
        tf.variable_scope, tf.GraphKeys = v1.variable_scope, v1.GraphKeys
        for name in ("inception_v4", "inception_resnet_v2"):
            module = importlib.import_module(f"nets.{name}")
            check(name, getattr(module, name), getattr(module, f"{name}_arg_scope"))


def check(name, network, arg_scope):
    """Save a checkpoint with random weights, read it, run the graph, and write the fixture."""
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 299, 299, 3])
        with tf_slim.arg_scope(arg_scope()):
            logits, _ = network(images, num_classes=1001, is_training=False)
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        values = {key: random_array(key, variable.shape.as_list()) for key, variable in variables.items()}
        starts = {variable.initializer.inputs[1]: values[key] for key, variable in variables.items()}
        session.run([variable.initializer for variable in variables.values()], starts)
        compare_checkpoint(session, values)
        save(f"tf_slim_{name}", {k: v.shape for k, v in values.items()}, run(session, logits, images))


def compare_checkpoint(session, values):
    """A checkpoint holds the variables under their names, as the published ones do."""
    with tempfile.TemporaryDirectory() as folder:
        path = v1.train.Saver().save(session, str(Path(folder) / "model.ckpt"))
        reader = tf.train.load_checkpoint(path)
        if set(reader.get_variable_to_shape_map()) != set(values):
            raise SystemExit("the checkpoint has other names than the graph")
        if any(difference(reader.get_tensor(key), value) for key, value in values.items()):
            raise SystemExit("the checkpoint has other values than were written")


def run(session, logits, images):
    return session.run(logits, {images: pictures(2) * 2 - 1})


if __name__ == "__main__":
    main()
