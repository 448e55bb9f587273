"""sandbox completion: a script of the shell's own that completes commands, options and their values. It is made of the
parser, so it knows what the parser knows. Exit status: 0.

    source <(sandbox completion bash)               # or in ~/.bashrc
    sandbox completion zsh > _sandbox               # in a directory of $fpath
    sandbox completion fish > ~/.config/fish/completions/sandbox.fish
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from ._messages import WALLS

_FILES = ("FILE", "HOST[:GUEST]")


class Argument(NamedTuple):
    """An option, or with no names a positional argument. `value` is none, maybe (a file or nothing), file, dir, word
    (one of `words`), command, or any."""

    names: tuple[str, ...]
    value: str
    words: tuple[str, ...]
    help: str
    repeated: bool = False


def add(commands: Any) -> None:
    parser = commands.add_parser("completion", help="print a script that completes commands for a shell")
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="whose script")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    print(_SCRIPTS[options.shell](_table(parser)), end="")
    return 0


# ---- what the parser knows ----------------------------------------------------------------------------------------


class Command(NamedTuple):
    help: str
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]


def _table(parser: argparse.ArgumentParser) -> dict[str, Command]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in found._choices_actions}
    return {name: _command(helps.get(name, ""), one) for name, one in found.choices.items()}


def _command(text: str, parser: argparse.ArgumentParser) -> Command:
    made = [_argument(action) for action in parser._actions]
    return Command(text, tuple(one for one in made if one.names), tuple(one for one in made if not one.names))


def _argument(action: argparse.Action) -> Argument:
    words = tuple(map(str, action.choices)) if action.choices else WALLS if action.metavar == "WALL" else ()
    repeated = isinstance(action, argparse._AppendAction) or action.nargs in ("*", "+")
    return Argument(tuple(action.option_strings), _value(action, words), words, action.help or "", repeated)


def _value(action: argparse.Action, words: tuple[str, ...]) -> str:
    if action.nargs == 0:
        return "none"
    if action.nargs == argparse.REMAINDER:
        return "command"
    if words:
        return "word"
    if action.metavar in _FILES:
        return "maybe" if action.option_strings and action.nargs == "?" else "file"
    return "dir" if action.metavar == "DIR" else "any"


# ---- bash ---------------------------------------------------------------------------------------------------------

_BASH = """\
# bash completion of sandbox; made by `sandbox completion bash`
_sandbox() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} i
    if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {commands} -- "$cur"))
        return
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do
        [[ ${{COMP_WORDS[i]}} == -- ]] || continue
        ((i == COMP_CWORD - 1)) && COMPREPLY=($(compgen -c -- "$cur"))
        ((${{#COMPREPLY[@]}})) || compopt -o default
        return
    done
    [[ $cur == -* ]] || case "${{COMP_WORDS[1]}} $prev" in
{values}
    esac
    case "${{COMP_WORDS[1]}} $cur" in
{options}
{positionals}
    esac
}}
complete -F _sandbox sandbox
"""


def _bash(table: dict[str, Command]) -> str:
    values = [line for name, one in table.items() for line in _bash_values(name, one)]
    options = [
        f"        {shlex.quote(name)}' '-*) {_bash_words([text for option in one.options for text in option.names])};;"
        for name, one in table.items()
    ]
    positionals = [line for name, one in table.items() for line in _bash_positionals(name, one)]
    return _BASH.format(
        commands=shlex.quote(" ".join(table)),
        values="\n".join(values),
        options="\n".join(options),
        positionals="\n".join(positionals),
    )


def _bash_values(name: str, command: Command) -> Iterator[str]:
    """One case for each way to complete; what can be anything is not completed."""
    cases: dict[str, list[str]] = {}
    for option in command.options:
        if option.value != "none":
            cases.setdefault(_bash_value(option), []).extend(shlex.quote(f"{name} {text}") for text in option.names)
    for act, labels in cases.items():
        yield f"        {'|'.join(labels)}) {act}; return;;"


def _bash_positionals(name: str, command: Command) -> Iterator[str]:
    shown = next((one for one in command.positionals if one.value not in ("any", "command")), None)
    if shown is not None:
        yield f"        {shlex.quote(name)}' '*) {_bash_value(shown)};;"


def _bash_value(argument: Argument) -> str:
    if argument.value == "word":
        return _bash_words(argument.words)
    acts = {"file": "compopt -o default", "maybe": "compopt -o default", "dir": "compopt -o dirnames"}
    return acts.get(argument.value, ":")


def _bash_words(words: Any) -> str:
    return f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(words))} -- "$cur"))'


# ---- zsh ----------------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef sandbox
# zsh completion of sandbox; made by `sandbox completion zsh`
_sandbox() {{
    local -a actions
    actions=(
{commands}
    )
    if ((CURRENT == 2)); then
        _describe command actions
        return
    fi
    local name=$words[2] at=${{words[(i)--]}}
    if ((at < CURRENT)); then
        shift $at words
        ((CURRENT -= at))
        _normal -p sandbox
        return
    fi
    shift words
    ((CURRENT--))
    case $name in
{cases}
    esac
}}
if [[ $funcstack[1] == _sandbox ]]; then _sandbox "$@"; else compdef _sandbox sandbox; fi
"""


def _zsh(table: dict[str, Command]) -> str:
    commands = "\n".join(f"        {shlex.quote(f'{name}:{one.help}')}" for name, one in table.items())
    cases = "\n".join(f"        {name}) _arguments {' '.join(_zsh_specs(one))};;" for name, one in table.items())
    return _ZSH.format(commands=commands, cases=cases)


def _zsh_specs(command: Command) -> Iterator[str]:
    for option in command.options:
        for text in option.names:
            colon = {"none": "", "maybe": "::"}.get(option.value, ":")
            value = f"{colon}{_zsh_text(text.strip('-'))}:{_zsh_value(option)}" if colon else ""
            about = f"[{_zsh_text(option.help)}]" if option.help else ""
            yield shlex.quote(f"{'*' if option.repeated else ''}{text}{about}{value}")
    for argument in command.positionals:
        if argument.value != "command":
            yield shlex.quote(f"{'*' if argument.repeated else ''}:argument:{_zsh_value(argument)}")


def _zsh_text(text: str) -> str:
    return "".join("\\" + c if c in "[]:\\" else c for c in text)


def _zsh_value(argument: Argument) -> str:
    acts = {"word": f"({' '.join(argument.words)})", "file": "_files", "maybe": "_files", "dir": "_files -/"}
    return acts.get(argument.value, " ")


# ---- fish ---------------------------------------------------------------------------------------------------------


_FISH = """\
# fish completion of sandbox; made by `sandbox completion fish`
function __sandbox_first
    test (count (commandline -opc)) = 1
end
function __sandbox_of
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"; and not contains -- -- $words
end
function __sandbox_command_of
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"; and contains -- -- $words
end
function __sandbox_command
    set -l words (commandline -opc)
    set -l at (math (contains -i -- -- $words) + 1)
    complete -C (string join ' ' -- (string escape -- $words[$at..-1]) (commandline -ct))
end
complete -c sandbox -f
"""


def _fish(table: dict[str, Command]) -> str:
    lines = []
    for name, command in table.items():
        lines.append(f"complete -c sandbox -n __sandbox_first -a {name} -d {_fish_text(command.help)}")
        lines += [_fish_line(name, argument) for argument in (*command.options, *command.positionals)]
    return _FISH + "\n".join(lines) + "\n"


def _fish_line(name: str, argument: Argument) -> str:
    if argument.value == "command":
        return f"complete -c sandbox -n '__sandbox_command_of {name}' -a '(__sandbox_command)'"
    names = [f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}" for text in argument.names]
    taken = {"none": "", "maybe": "", "file": "-r"}.get(argument.value, "-x")
    value = {
        "word": f"-a {_fish_text(' '.join(argument.words))}",
        "file": "-F",
        "dir": "-a '(__fish_complete_directories)'",
    }.get(argument.value, "")
    about = f"-d {_fish_text(argument.help)}" if argument.help and names else ""
    where = f"complete -c sandbox -n '__sandbox_of {name}'"
    return " ".join(filter(None, [where, *names, taken if names else "", value, about]))


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
