"""The ament_python package: installed by colcon on a robot, by pip elsewhere."""

from glob import glob

from setuptools import find_packages, setup

NAME = "ssvif_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=["ssvif_ros", "ssvif_ros.*", "ssvif_core", "ssvif_core.*"]),
    package_data={
        "ssvif_core": ["weights/*", "*.jinja", "*/*.jinja", "py.typed"],
        "ssvif_ros": ["py.typed"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*.*")),
        (f"share/{NAME}/config/train", glob("config/train/*.yaml")),
    ],
    # On a robot rosdep brings what package.xml names; elsewhere the locked files in requirements/
    # do. Listing it here would make pip replace the distribution's OpenCV and NumPy.
    install_requires=["setuptools"],
    extras_require={
        "ray": ["ray>=2.50"],  # `ssvif evaluate --ray`; both ends in one version
        "test": ["pytest"],  # `colcon test` looks for it here
        "view": ["rerun-sdk>=0.24"],  # `ssvif view`
        "prometheus": ["prometheus-client>=0.20"],  # the parameter prometheus_file
    },
    python_requires=">=3.10",
    zip_safe=False,
    maintainer="SSVIF for robots maintainers",
    maintainer_email="maintainers@example.org",
    description="Visible-thermal image fusion and self-supervised segmentation for ROS 2",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "fusion_node = ssvif_ros.node.fusion_node:main",
            "build_engine = ssvif_ros.node.build_engine:main",
            "ssvif = ssvif_core.cli:main",
        ],
        "ssvif.commands": [
            "play = ssvif_ros.replay.cli:play",
            "demo = ssvif_ros.replay.cli:demo",
        ],
        "ssvif.live": ["view = ssvif_ros.replay.live:show_live"],
        "ssvif.through_ros": ["play = ssvif_ros.replay.evaluation:through_node"],
    },
)
