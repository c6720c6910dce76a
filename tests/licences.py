"""The licences of everything in the tested set, from what each installed package says of itself.

python tests/licences.py    writes results/reliability/licences.md
"""

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "results" / "reliability" / "licences.md"
# Long forms of the same thing, and those whose metadata hold the licence's whole text.
SHORT = {
    r"MIT( License)?$|Expat": "MIT",
    r"Apache.*2\.0|Apache Software License": "Apache-2.0",
    r"(new |modified |3-clause )?BSD([- ]3-Clause)?( License)?$|BSD.3.Clause": "BSD-3-Clause",
    r"BSD 2-Clause": "BSD-2-Clause",
    r"Mozilla Public License 2\.0|MPL.2\.0": "MPL-2.0",
    r"GNU General Public License \(GPL\)|GPL.2": "GPL-2.0-or-later",
    r"Python Software Foundation": "PSF-2.0",
    r"ISC": "ISC",
}


def licence(package: str) -> str:
    "What a package's metadata call its licence: an expression, a classifier or a first line."
    said = metadata.metadata(package)
    if said["License-Expression"]:
        return said["License-Expression"]
    known = [line.split(" :: ")[-1] for line in said.get_all("Classifier", []) if "License" in line]
    known = [name for name in known if name != "OSI Approved"]
    text = (" and ".join(known) or said["License"] or "").strip().split("\n")[0]
    for pattern, short in SHORT.items():
        if re.match(pattern, text, re.IGNORECASE):
            return short
    return text


def main() -> int:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = sorted((line.split("==") for line in lines if "==" in line), key=lambda p: p[0].lower())
    rows = [(name, metadata.version(name), licence(name)) for name, _ in pins]
    head = "| package | version | licence |\n| --- | --- | --- |\n"
    PLACE.write_text(head + "".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")
    unknown = [name for name, _, found in rows if not found]
    print(f"{len(rows)} packages in {PLACE.relative_to(ROOT)}; without a word: {unknown or 'none'}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
