"Hands settings.ini, where the package's metadata is written once, to setuptools."

from configparser import ConfigParser

from setuptools import setup

config = ConfigParser(delimiters=["="])
with open("settings.ini", encoding="utf-8") as file:
    config.read_file(file)
settings = config["DEFAULT"]

extras = {  # every group of settings.ini, by its name
    name.removesuffix("_requirements"): listed.split()
    for name, listed in settings.items()
    if name.endswith("_requirements")
}
extras["all"] = sorted({requirement for group in extras.values() for requirement in group})

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    author=settings["author"],
    license="Apache-2.0",
    keywords=settings["keywords"].split(),
    python_requires=f">={settings['min_python']}",
    packages=[settings["lib_path"] + part for part in ("", ".hood", ".lab")],
    package_data={settings["lib_path"]: ["assets/*", "*.pyi", "py.typed"]},
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": settings["console_scripts"].splitlines()},
)
