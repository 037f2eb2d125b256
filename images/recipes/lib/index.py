"""Fixtures: what a recipe hands over, how it is stored, and tests/fixtures/INDEX.json."""

import json
import os

from . import listing, tools

INDEX = os.path.join(tools.FIXTURES, "INDEX.json")

RECIPES = {}


def recipe(name):
    """Registers a function that makes the fixture `name` and gives a `Fixture`."""

    def register(function):
        RECIPES[name] = function
        return function

    return register


def blkid(image, offset=0, size=None):
    """What blkid says of a file system: type, label, uuid."""
    command = ["blkid", "-p", "-o", "export", "--offset", offset]
    if size is not None:
        command += ["--size", size]
    output = tools.run(*command, image, check=False).decode()
    facts = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    unescape = lambda text: text.replace("\\ ", " ") if text else text
    return {
        "type": facts.get("TYPE"),
        "label": unescape(facts.get("LABEL")),
        "uuid": facts.get("UUID"),
    }


class Fixture:
    """One test image: its files, and what independent tools say about it."""

    def __init__(self, name, kind, note=None):
        self.name = name
        self.record = {"kind": kind, "open": [], "files": []}
        if note:
            self.record["note"] = note
        self.record["verified"] = []

    def file(self, path, name=None, first=True):
        """Packs the file at `path`; `first` ones are what a user names, others are its parts."""
        name = name or os.path.basename(path)
        many = self.record["kind"] == "set"
        stored = f"{self.name}/{name}.gz" if many else f"{name}.gz"
        tools.pack(path, os.path.join(tools.FIXTURES, stored))
        self.record["files"].append(
            {
                "name": name,
                "stored": stored,
                "size": os.path.getsize(path),
                "sha256": tools.sha256(path),
            }
        )
        if first:
            self.record["open"].append(name)
        return self

    def disk(self, raw, **facts):
        """The whole virtual disk, as the raw file `raw`."""
        size, digest = os.path.getsize(raw), tools.sha256(raw)
        self.record["disk"] = {"size": size, "sha256": digest, **facts}
        return self

    def volume(self, image, rows=None, offset=0, size=None, errors=None, label="", **facts):
        """A volume of `image` with its listing."""
        size = size if size is not None else os.path.getsize(image) - offset
        volume = {"offset": offset, "size": size, **blkid(image, offset, size), **facts}
        if rows is not None:
            name = f"{self.name}{label}.tsv"
            listing.save(rows, os.path.join(tools.FIXTURES, name))
            volume["listing"] = name
        if errors:
            volume["errors"] = errors
        self.record.setdefault("volumes", []).append(volume)
        return self

    def table(self, scheme, partitions, by, **facts):
        self.record["table"] = {"scheme": scheme, "partitions": partitions, **facts}
        return self.verified(by)

    def expect(self, **facts):
        """What must be said of an image that is not in order."""
        self.record["expect"] = facts
        return self

    def verified(self, by):
        self.record["verified"].append(by)
        return self


def load():
    try:
        with open(INDEX, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"version": 1, "fixtures": {}}


def save(fixtures):
    """Merges the given fixtures into the index."""
    index = load()
    for fixture in fixtures:
        index["fixtures"][fixture.name] = fixture.record
    index["fixtures"] = dict(sorted(index["fixtures"].items()))
    with open(INDEX, "w", encoding="utf-8") as file:
        json.dump(index, file, indent=1, ensure_ascii=False)
        file.write("\n")
