"""Make a built book light: of what the theme brings, keep what its pages use.

Icons, rules of style, scripts and marks of colour that no page asks for are left out; nothing that
a reader sees is changed.
"""

import re
import shutil

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

# Maps for the theme's developers, its translations, and a script that draws what a font draws.
DROPPED = (
    *("**/*.map", "locales", "scripts/fontawesome.js*", "vendor", "*webpack-macros.html"),
    *("images", "plus.png", "minus.png", "file.png"),  # logos of services, marks of other themes
)
# Only the page that searches needs these.
SEARCHES = r"searchtools|language_data|searchindex"
ICONS = "vendor/fontawesome/webfonts/fa-solid-900.ttf"


def blocks(css):
    "The top level of a style sheet: what stands before the braces, and in them (None: no braces)."
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    start = depth = opened = 0
    for match in re.finditer(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{};]", css):
        sign, at = match[0], match.start()
        if sign == "{":
            depth += 1
            opened = at if depth == 1 else opened
        elif sign == "}":
            depth -= 1
            if depth == 0:
                yield css[start:opened].strip(), css[opened + 1 : at].strip()
                start = at + 1
        elif sign == ";" and depth == 0:
            yield css[start:at].strip(), None
            start = at + 1


def chosen(selectors, words):
    "The selectors whose classes and ids occur; those in `:not(…)` or `:is(…)` need not."
    kept = []
    for selector in re.split(r",(?![^(]*\))", selectors):
        bare = re.sub(r"\[[^\]]*\]", "", selector)
        while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
            bare = inner
        names = re.findall(r"[.#]((?:\\.|[\w-])+)", bare)
        if all(name.replace("\\", "") in words for name in names):
            kept.append(selector.strip())
    return ",".join(kept)


def purged(css, words):
    "A style sheet without the rules whose classes or ids are not among `words`."
    kept = []
    for head, body in blocks(css):
        if body is None:
            kept.append(f"{head};")
        elif re.match(r"@(media|supports|layer|container)", head):
            if inner := purged(body, words):
                kept.append(f"{head}{{{inner}}}")
        elif head.startswith("@"):
            kept.append(f"{head}{{{body}}}")
        elif selectors := chosen(head, words):
            kept.append(f"{selectors}{{{body}}}")
    return "\n".join(kept)


def plain(css):
    "The classes of code whose colour is that of the text around it, in every theme."
    base = {
        theme: colour.lower()
        for theme, colour in re.findall(r"(\S+) \.highlight \{[^}]*\bcolor: (#\w+)", css)
    }
    found = {}
    for theme, name, style in re.findall(r"(\S+) \.highlight \.(\w+) \{([^}]*)\}", css):
        found.setdefault(name, []).append(style.strip().lower() == f"color: {base[theme]}")
    return {name for name, same in found.items() if all(same)}


def icon_font(static, sheets):
    "A font of those icons alone that the style sheets still name."
    signs = {int(s, 16) for css in sheets for s in re.findall(r'content:"\\([0-9a-f]{4})"', css)}
    font = TTFont(static / ICONS)
    subsetter = Subsetter(Options(hinting=False))
    subsetter.populate(unicodes=signs)
    subsetter.subset(font)
    font.flavor = "woff"
    font.save(static / "styles" / "icons.woff")


def face(match):
    "A rule for a font of icons: that small one in place of the theme's, none for the others."
    if "fa-solid" not in match[0]:
        return ""
    return re.sub(r"src:[^}]*", 'src:url(icons.woff) format("woff")', match[0])


def bare(page):
    "The text of a page without marks that no style asks for, and without indentation."
    parts = re.split(r"(<(pre|script|textarea|style)\b.*?</\2>)", page, flags=re.S)
    for i in range(0, len(parts), 3):
        text = re.sub(r"\s*\n\s*", "\n", parts[i])
        text = text.replace('class="docutils literal notranslate"', 'class="literal"')
        text = re.sub(r' class="(row-odd|row-even|head)"', "", text)
        # Docutils' list of references holds more than its role allows, and that of an entry is old.
        text = text.replace('role="list" class="citation-list"', 'class="citation-list"')
        text = text.replace(' role="doc-biblioentry"', "")
        # A cell of a table that holds one paragraph.
        cell = r"(<t[hd]\b[^>]*>)<p>((?:(?!</?p\b).)*)</p>\s*(?=</t[hd]>)"
        parts[i] = re.sub(cell, r"\1\2", text, flags=re.S)
    return "".join(part for i, part in enumerate(parts) if i % 3 < 2)


def light(page, uncoloured, searches):
    "The text of a page without what it does not use."
    for names in ("pre", uncoloured):
        page = re.sub(rf'<span class="(?:{names})">([^<]*)</span>', r"\1", page)
    # The theme's label leaves out what the button shows beside its word, the keys.
    page = re.sub(r'(<button class="btn search-button-fi[^>]*?) aria-label="Search"', r"\1", page)
    unused = ["fontawesome", *([] if searches else [SEARCHES])]
    unused += [] if "sd-tab" in page else ["design-tabs"]
    page = re.sub(rf'<script[^>]*src="[^"]*(?:{"|".join(unused)})[^"]*"></script>\n?', "", page)
    return bare(page)


def slim(html):
    "Make the book in the folder `html` light, in place."
    static, files = html / "_static", list(html.rglob("*.html"))
    uncoloured = "|".join(sorted(plain((static / "pygments.css").read_text(encoding="utf-8"))))
    words = set()
    for file in files:
        page = file.read_text(encoding="utf-8")
        page = light(page, uncoloured, file.name == "search.html")
        file.write_text(page, encoding="utf-8")
        for names in re.findall(r'\b(?:class|id)="([^"]*)"', page):
            words.update(names.split())
    for script in (*static.rglob("*.js"), *html.glob("*.js")):
        if script.name not in ("fontawesome.js", "searchindex.js"):
            words.update(re.findall(r"[\w-]+", script.read_text(encoding="utf-8")))
    sheets = {
        sheet: purged(sheet.read_text(encoding="utf-8"), words) for sheet in static.rglob("*.css")
    }
    icon_font(static, sheets.values())
    for sheet, css in sheets.items():
        sheet.write_text(re.sub(r"@font-face\{[^}]*webfonts[^}]*\}", face, css), encoding="utf-8")
    for pattern in DROPPED:
        for path in list(static.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
