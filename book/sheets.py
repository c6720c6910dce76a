"""The tables that a page of the book folds away, as files that a spreadsheet opens."""

import csv
import html
import io
import re

TABLE = re.compile(r"<table.*?</table>", re.S)


def cells(row):
    "The texts of a row of a table."
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
    spaced = [re.sub(r"<br\s*/?>", " ", cell) for cell in found]
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", "", cell)).split()) for cell in spaced]


def sheet(table):
    "A table as CSV."
    written = io.StringIO()
    csv.writer(written).writerows(map(cells, re.findall(r"<tr.*?</tr>", table, re.S)))
    return written.getvalue()


def folded(page):
    "The tables of a page that lie in a fold, as matches."
    for table in TABLE.finditer(page):
        before = page[: table.start()]
        if before.count("<details") > before.count("</details>"):
            yield table


def offer(folder):
    "Write the folded tables of a built book as files, and a link under each, in place."
    for file in sorted((folder / "nbs").rglob("*.html")):
        page = file.read_text(encoding="utf-8")
        up = "../" * (len(file.relative_to(folder).parts) - 1)
        tables = list(folded(page))
        for number, table in reversed(list(enumerate(tables, 1))):
            name = f"_downloads/tables/{file.stem}-{number}.csv"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(sheet(table[0]), encoding="utf-8")
            end = page.find("</div>", table.end()) + len("</div>")  # of the box that it scrolls in
            link = f'<p class="origin"><a href="{up}{name}" download>This table as CSV</a></p>'
            page = page[:end] + link + page[end:]
        if tables:
            file.write_text(page, encoding="utf-8")
