"""Package metadata; `pip install -e .[test]` for development."""

import glob
import os

import setuptools
from setuptools.command import build_py


class BuildWithRecipes(build_py.build_py):
    """Copies configs/export into the wheel, as export/recipes."""

    def run(self):
        super().run()
        if not self.editable_mode:
            folder = os.path.join(self.build_lib, "export", "recipes")
            self.mkpath(folder)
            for path in sorted(glob.glob("configs/export/*.json")):
                self.copy_file(path, folder)


setuptools.setup(
    name="mobilebert-tf",
    version="0.1.0",
    description=(
        "MobileBERT in TensorFlow: pre-training, knowledge transfer, "
        "fine-tuning, int8 TFLite export and on-device benchmarks"
    ),
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    cmdclass={"build_py": BuildWithRecipes},
    packages=setuptools.find_packages(
        include=[
            "mobilebert_tf*",
            "export*",
            "android_benchmark*",
        ]
    ),
    install_requires=[
        # The Garden release follows the TensorFlow minor version; both, with
        # tensorflow-text and tf_keras, must be of one line.
        "tensorflow>=2.20,<2.21",
        "tensorflow-text>=2.20,<2.21",
        "tf-models-official>=2.20,<2.21",
        "tf-keras>=2.20,<2.21",
        "absl-py>=1.4",
        "numpy>=1.26",
        # tf.lite.Interpreter is deprecated in favour of LiteRT.
        "ai-edge-litert>=2.3,<2.4",
        # Quantises a float .tflite by recipe. 0.x releases change the recipe
        # format.
        "ai-edge-quantizer>=0.10,<0.11",
        # Metadata of .tflite files. TensorFlow and LiteRT bring it too.
        "flatbuffers>=24.3",
        # GLUE by name. It imports importlib_resources to write a dataset, but
        # asks for it below Python 3.9 only.
        "tensorflow-datasets>=4.9",
        "importlib-resources>=5",
        # Metrics of record (Matthews, F1, accuracy; correlations), Student's t.
        "scikit-learn>=1.3",
        "scipy>=1.10",
        # Hugging Face's file format, in and out.
        "safetensors>=0.5",
        # tensorflow-hub, a dependency of the Garden, imports pkg_resources,
        # which setuptools 81 dropped.
        "setuptools<81",
        "pyyaml>=6.0",
        # HTML reports.
        "jinja2>=3.1",
        "matplotlib>=3.7",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            # Two processes halve the time on two cores.
            "pytest-xdist>=3.6",
            "ruff>=0.17,<0.18",
            # What entity scores are compared with.
            "seqeval>=1.2",
        ],
        # Parity with Hugging Face's PyTorch MobileBERT (test only). Exactly
        # this torch: a range takes the newest, with gigabytes of CUDA, even
        # where pip has a CPU build at hand.
        "parity": ["transformers>=5,<6", "torch==2.13.0"],
        # Pre-training data on any Apache Beam runner.
        "beam": ["apache-beam>=2.77,<3"],
    },
)
