"""The reviewed list: mutants that compute the same, with the reason. equivalent.txt, to be read and edited by hand.

    == why these compute the same

    Softmax.forward
    -   the statement as it is
    +   the statement as the mutant has it

A heading holds for all entries under it. A second equal change in the same function has `#2` after the name. The report's
survivors are printed in the same form.
"""

from __future__ import annotations

from pathlib import Path

from tests.mutants.generate import mutants, targets

FILE = Path(__file__).with_name("equivalent.txt")
Key = tuple[str, str, str, int]


def read() -> dict[Key, str]:
    """{a mutant's key: the reason}."""
    found: dict[Key, str] = {}
    reason = name = before = ""
    for number, line in enumerate(FILE.read_text().splitlines(), 1):
        if line.startswith("== "):
            reason = line[3:].strip()
        elif line.startswith("-   "):
            before = line[4:].strip()
        elif line.startswith("+   "):
            plain, _, count = name.partition("  #")
            key = plain, before, line[4:].strip(), int(count or 1) - 1
            if not (reason and name and before) or key in found:
                raise ValueError(f"{FILE.name}, line {number}: {'listed twice' if key in found else 'incomplete'}")
            found[key] = reason
        elif line.strip() and not line.startswith(("#", " ")):
            name, before = line.strip(), ""
    return found


def stale() -> list[str]:
    """Entries whose mutant is no longer made: the code has changed."""
    listed = read()
    names = {key[0] for key in listed}
    made = {mutant.key for target in targets() if target.name in names for mutant in mutants(target)}
    return [f"{key[0]}\n-   {key[1]}\n+   {key[2]}" for key in listed if key not in made]
