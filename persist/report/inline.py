"""A matplotlib SVG file as a small element of a page: own ids, no links, the page's font, short paths."""

from __future__ import annotations

import html
import re

_DROPPED = (r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>", r"<!--.*?-->", r'(?<=<g) id="[^"]*"')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_MOVES = re.compile(r"([MLz])\s*([^MLz]*)")


def element(text: str, name: str, label: str) -> str:
    """Inline SVG with ``label`` as its accessible name; ``name`` goes before every id, so that many share one page."""
    body = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', body)
    inner = body[body.index(">") + 1 :]
    for part in _DROPPED:
        inner = re.sub(part, "", inner, flags=re.DOTALL)
    inner = re.sub(r'(<[^>]*\bid=")', rf"\g<1>{name}-", inner)
    inner = re.sub(r'((?:xlink:)?href="|url\()#', rf"\g<1>#{name}-", inner).replace("xlink:href", "href")
    inner = re.sub(r' transform="rotate\(-?0 [^"]*"', "", inner)
    inner = re.sub(r"(?<=style=\")font: (?:(\d+) )?([\d.]+px)[^\";]*", _font, inner)
    inner = re.sub(r" ?font-family: [^;\"]*;?", "", inner)
    inner = re.sub(r' d="([^"]*)"', lambda found: f' d="{path(found[1])}"', inner)
    inner = re.sub(r' (x|y|width|height)="([^"]*)"', lambda found: f' {found[1]}="{_short(found[2])}"', inner)
    inner = re.sub(r">\s+<", "><", inner)
    view = box.group(1) if box else "0 0 100 100"
    about = html.escape(label, quote=True)
    return f'<svg class="figure" viewBox="{view}" role="img" aria-label="{about}">{inner.strip()}\n'


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}"


def _short(text: str) -> str:
    """A number to two decimals; other text as it is."""
    return f"{float(text):.2f}".rstrip("0").rstrip(".") if _NUMBER.fullmatch(text) else text


def path(data: str) -> str:
    """The same path, to a tenth of a point; straight ones as relative moves, which are shorter."""
    if re.search(r"[CQSTHVA]", data):
        return " ".join(_NUMBER.sub(lambda found: _short(found[0]), data).split())
    parts: list[str] = []
    here, run = (0, 0), (0, 0)
    for kind, numbers in _MOVES.findall(data):
        if kind == "L":
            there = _tenths(numbers)
            step = (there[0] - here[0], there[1] - here[1])
            if not _straight(run, step):
                parts.append(_relative(run))
                run = (0, 0)
            run, here = (run[0] + step[0], run[1] + step[1]), there
            continue
        parts.append(_relative(run))
        run = (0, 0)
        if kind == "M":
            here = _tenths(numbers)
            parts.append(f"M{here[0] / 10:g} {here[1] / 10:g}")
        else:
            parts.append("z")
    return "".join([*parts, _relative(run)])


def _tenths(numbers: str) -> tuple[int, int]:
    x, y = _NUMBER.findall(numbers)
    return round(10.0 * float(x)), round(10.0 * float(y))


def _straight(run: tuple[int, int], step: tuple[int, int]) -> bool:
    """True if one move can stand for both: one is none, or both go the same way along an axis."""
    if step == (0, 0) or run == (0, 0):
        return True
    level = run[1] == step[1] == 0 and run[0] * step[0] > 0
    upright = run[0] == step[0] == 0 and run[1] * step[1] > 0
    return level or upright


def _relative(step: tuple[int, int]) -> str:
    return "" if step == (0, 0) else f"l{step[0] / 10:g} {step[1] / 10:g}"
