from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "uniformer_video" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="uniformer_video",
    version=version,
    description="UniFormer for video action recognition: train, test with many views, fine-tune",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["uniformer_video", "uniformer_video.*"]),
    package_data={"uniformer_video.datasets": ["labels/*.txt"]},
    install_requires=[
        "torch>=2.6",
        "numpy>=1.24",
        "fvcore>=0.1.5",
        "iopath>=0.1.10",
        "simplejson>=3.17",
        "av>=17.1",
        # The wheels of decord are for x86-64 alone; everything works without it, on the reader pyav.
        "decord>=0.6.0; platform_machine == 'x86_64' or platform_machine == 'AMD64'",
        "pillow>=10.0",
        "pyyaml>=6.0",
        "tqdm>=4.60",
        "matplotlib>=3.7",
    ],
    extras_require={
        "tensorboard": ["tensorboard>=2.12", "setuptools"],
        "safetensors": ["safetensors>=0.4"],
        # Needs FFmpeg's shared libraries on the machine besides.
        "torchcodec": ["torchcodec>=0.6"],
        # tools/submit.py sends jobs with it.
        "slurm": ["submitit>=1.5"],
        # torch for CUDA brings it along on Linux; torch for CPUs does not need it.
        "triton": ["triton>=3.3; sys_platform == 'linux'"],
        "test": [
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.2",
            "hypothesis>=6.100",
            "safetensors>=0.4",
            "tensorboard>=2.12",
            "setuptools",
            "submitit>=1.5",
            # Its interpreter runs the GPU kernels on a CPU; torch for CUDA has it anyway.
            "triton>=3.3; sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64')",
        ],
        "lint": ["ruff==0.17.5"],
    },
)
