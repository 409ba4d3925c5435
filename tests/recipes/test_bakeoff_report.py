import itertools
import re
from html import unescape
from pathlib import Path

import matplotlib
import pytest
from bakeoff_cases import KINDS, Tags, bakeoff, render, rows, text_of
from report_cases import section

from mmzoo.recipes.comparison.report import write_bakeoff_report

TITLES = ["Accuracy and latency", "All kinds", "Missing modalities", "Synthetic tasks",
          "Modality imbalance", "How it was measured"]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return render(tmp_path_factory.mktemp("bakeoff"), bakeoff())


def test_page_is_well_formed_and_loads_nothing(page):
    tags = Tags(page).found
    assert {"svg", "table", "nav"} <= {tag for tag, _ in tags}
    assert not {"script", "iframe", "object", "embed", "base", "img"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    assert "://" not in page and "@import" not in page and not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names)) > 200  # those of six figures
    for name in re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", page):
        assert name in names
    assert not re.search(r"(?:fill|stroke): #", page)  # a fixed colour is lost in one mode
    assert page.count('<div class="wide">') - 2 == page.count('<div class="narrow">') == 3


def test_the_order_is_that_of_the_questions(page):
    assert re.findall("<h2>(.*?)</h2>", page) == TITLES


def test_verdict_first_with_its_interval_and_its_picture(page):
    head = page.split("<h2>")[0]
    assert (
        "+1.0 points of accuracy: CrossAttention (best learned fusion) less LateFusion (best late "
        "fusion). 95 % interval +0.7 to +1.3, without zero. CrossAttention, the best"
        in text_of(head)
    )
    assert "Two verdicts" not in head and "Not run" not in head
    assert head.count("</svg>") == 2 + 1  # wide, narrow and the shapes
    for width in (
        "wide",
        "narrow",
    ):  # the interval, 0.66 to 1.33 points, begins half-way to its end
        zero, left, right = (
            float(
                head.split(f'id="difference-{width}-{name}"')[1].split(f"{letter} ")[1].split()[0]
            )
            for name, letter in (("zero", "M"), ("interval", "M"), ("interval", "L"))
        )
        assert (left - zero) / (right - zero) == pytest.approx(0.66 / 1.33, abs=1e-3)


def test_contradicting_verdict_is_not_hidden(tmp_path):
    results = bakeoff()
    results["verdict"]["difference"].update(low=-0.001)
    page = render(tmp_path, results)
    assert "Two verdicts" in page and "interval −0.1 to +1.3, with zero" in text_of(page)


def test_picture_names_every_kind(page):
    part = section(page, "Accuracy and latency")
    wide, narrow = part.split('<div class="narrow">')
    shown = re.findall(r"<text[^>]*>(.*?)</text>", wide)
    assert {kind for kind, *_ in KINDS} < set(shown)
    assert {"early", "late", "intermediate", "attention", "unimodal", "as text"} < set(shown)
    assert "5.83 + 0.1" in shown and "97" in shown
    bold = re.findall(r"<text style=\"font-weight: 700[^\"]*\"[^>]*>(.*?)</text>", wide)
    assert sorted(bold) == ["CrossAttention", "LateFusion"]
    # On a phone numbers stand for the names, in the order of the list and of the table.
    shown = re.findall(r"<text[^>]*>(.*?)</text>", narrow)
    assert {str(number) for number in range(1, 28)} < set(shown) and "CrossAttention" not in shown
    names = re.findall(r"<li>(.*?)</li>", narrow, re.DOTALL)
    assert [text_of(name) for name in names] == [
        row[0].split(" best ")[0] for row in kinds_table(page, notes=False)
    ]


def kinds_table(page, notes=True):
    part = section(page, "All kinds")
    if not notes:
        part = re.sub(r'<div class="note">.*?</div>', "", part)
    return rows(part)[1:]


def test_table_has_the_numbers_given_by_mean(page):
    results = bakeoff()
    entries = results["tasks"]["concepts"]["entries"]
    entries.sort(key=lambda entry: -entry["accuracy"]["mean"])
    table = kinds_table(page)
    assert len(table) == 27
    for entry, row in zip(entries, table, strict=True):
        accuracy = entry["accuracy"]
        assert row[0].startswith(entry["kind"]) and row[0].endswith(entry["note"])
        assert row[1] == entry["family"]
        assert row[2].lstrip("★≈ ") == f"{100 * accuracy['mean']:.1f}"
        assert row[3] == f"{100 * accuracy['low']:.1f} – {100 * accuracy['high']:.1f}"
        assert row[5] == f"{100 * entry['validation']['mean']:.1f}"
        assert row[6] == f"{entry['parameters']:,}" and row[8] == f"{entry['latency_ms']:.3f}"
        assert row[9] == f"{entry['max_difference']:.2e}"
    named = {row[0].split(" best ")[0]: row for row in table}
    assert named["MultimodalTransformer"][7] == "7.37 M" and named["GatedFusion"][7] == "97.2 k"
    assert "CrossAttention best learned" in table[2][0] and "best late" in named["LateFusion"][0]
    low = entries[0]["accuracy"]["low"]
    even = [entry["kind"] for entry in entries[1:] if entry["accuracy"]["high"] >= low]
    assert [row[0].split(" best ")[0] for row in table if "≈" in row[2]] == even
    part = section(page, "All kinds")
    assert f"The intervals of {len(even)} kinds reach that of CoAttention" in text_of(part)
    assert table[0][2].startswith("★") and part.count('<tr class="best">') == 1


def test_bars_of_the_table_span_the_fusions(page):
    part = section(page, "All kinds")
    fusions = [entry["accuracy"] for entry in bakeoff()["tasks"]["concepts"]["entries"][:-4]]
    low = min(accuracy["low"] for accuracy in fusions)
    high = max(accuracy["high"] for accuracy in fusions)
    assert f"{100 * low:.1f} {100 * high:.1f} Validation" in text_of(part)
    best = max(fusions, key=lambda accuracy: accuracy["mean"])
    left, width, middle = re.search(
        r'<b style="left:(.*?)%;width:(.*?)%"></b><u style="left:(.*?)%">', part
    ).groups()
    assert float(left) == pytest.approx(100 * (best["low"] - low) / (high - low), abs=0.06)
    assert float(width) == pytest.approx(
        100 * (best["high"] - best["low"]) / (high - low), abs=0.06
    )
    assert float(middle) == pytest.approx(100 * (best["mean"] - low) / (high - low), abs=0.06)
    assert part.count('<i class="off">') == 3  # image, text and audio are below


def test_subsets_are_a_heat_table_with_what_a_loss_costs(page):
    part = section(page, "Missing modalities")
    head, *table = rows(part)
    assert head == ["Kind", "image + text + audio", "image + text", "image + audio",
                    "text + audio", "image", "text", "audio", "Worst loss of one"]  # fmt: skip
    named = {row[0].split(" best ")[0]: row[1:] for row in table}
    found = {e["kind"]: e["subsets"] for e in bakeoff()["tasks"]["concepts"]["entries"]}
    for kind, row in named.items():
        for name, cell in zip(head[1:-1], row, strict=False):
            share = found[kind].get(name.replace(" ", ""))
            assert cell == ("–" if share is None else f"{100 * share:.1f}")
    assert named["LateFusion"][-1] == "−6.2"  # without text: 0.062 in the cases
    assert named["ElementwiseFusion product"][-1] == "−19.8" and named["image"][-1] == "–"
    shares = [int(share) for share in re.findall(r"--accent\) (\d+)%", part)]
    assert (min(shares), max(shares)) == (0, 50) and len(shares) == 23 * 7 + 4


def test_tasks_show_who_stays_at_chance(page):
    part = section(page, "Synthetic tasks")
    assert "Expected: late fusion, which adds what each modality says, stays at chance" in part
    head, chance, *table = rows(part)
    assert head[1::2] == ["xor , %", "noise , %", "single , %"]
    assert chance[1::2] == ["50.0", "25.0", "25.0"] and len(table) == 25  # without two baselines
    tasks, order = bakeoff()["tasks"], [row[0].split(" best ")[0] for row in table]
    for column, name in enumerate(("xor", "noise", "single")):
        for entry in tasks[name]["entries"]:
            accuracy, row = entry["accuracy"], order.index(entry["kind"])
            at_chance = accuracy["low"] <= tasks[name]["chance"]
            text = f"{100 * accuracy['mean']:.1f}"
            assert table[row][1 + 2 * column] == ("chance " if at_chance else "") + text
            for width in ("wide", "narrow"):
                start = f'id="tasks-{width}-{column}-{row}-{"chance" if at_chance else "above"}"'
                drawn = part.split(start)[1].split("</g>")[0]
                assert ("fill: var(--ground)" in drawn) is at_chance
    assert {"MeanFusion", "LateFusion", "MajorityFusion", "image", "text"} == {
        name for name, row in zip(order, table, strict=True) if "chance" in row[1]
    }
    families = {kind: family for kind, family, *_ in KINDS}
    # Five families, each in one block.
    assert sum(families[a] != families[b] for a, b in itertools.pairwise(order)) == 4


def test_imbalance_shows_the_gain(page):
    table = rows(section(page, "Modality imbalance"))
    assert table[0][:3] == ["Training", "Accuracy, %", "Gain, points"]
    given = bakeoff()["imbalance"]["rows"]
    first = given[0]["accuracy"]
    for row, cells in zip(given, table[1:], strict=True):
        accuracy = row["accuracy"]
        better = sum(a > b for a, b in zip(accuracy["values"], first["values"], strict=True))
        gain = f"{100 * (accuracy['mean'] - first['mean']):+.1f} ({better} of 5)"
        assert cells[:2] == [row["name"], f"{100 * accuracy['mean']:.1f}"]
        assert cells[2] == ("–" if row is given[0] else gain)
        assert cells[3] == f"{100 * accuracy['low']:.1f} – {100 * accuracy['high']:.1f}"
        assert cells[5:] == [f"{100 * share:.1f}" for share in row["modalities"].values()]


def test_measured(page):
    part = text_of(section(page, "How it was measured"))
    for fact in ("Seeds 0, 1, 2, 3, 4", "Steps 800", "Batch size 64", "parameters 52,000",
                 "Noise −6 dB", "1,284,352 parameters", "58.7 M", "5.83 ms", "2 h 21 min",
                 "concept128", "9f2b" * 16, "mmzoo 0.2.0, keras 3.15.0",
                 "does not cover other test samples", "the best of 27 flatters"):  # fmt: skip
        assert fact in part.replace("\u202f", " ")


def test_what_was_not_run_is_left_out_and_named(tmp_path):
    results = bakeoff()
    results["tasks"] = {"concepts": results["tasks"]["concepts"]}
    page = render(tmp_path, results)
    assert "Not run, so not on this page: the synthetic tasks." in text_of(page)
    assert re.findall("<h2>(.*?)</h2>", page) == [t for t in TITLES if t != "Synthetic tasks"]
    del results["imbalance"]
    page = render(tmp_path, results)
    assert "this page: the synthetic tasks and modality imbalance." in text_of(page)
    assert 'href="#tasks"' not in page and 'href="#imbalance"' not in page
    Tags(page)


def test_one_seed_and_equals_everywhere(tmp_path):
    results = bakeoff()
    one = {"values": [1.0], "mean": 1.0, "low": 1.0, "high": 1.0}
    for entry in results["tasks"]["concepts"]["entries"]:
        entry.update(accuracy=one, latency_ms=0, subsets={})
    results.update(seeds=[0], imbalance={"about": "", "rows": results["imbalance"]["rows"][:1]})
    before = dict(matplotlib.rcParams)
    page = render(tmp_path, results)
    assert dict(matplotlib.rcParams) == before
    text = text_of(page)
    assert "27 kinds · 1 seed" in text and "measured no subset" in text
    assert "The intervals of 26 kinds reach" in text and not re.search("[0-9–] nan", text)
    ticks = re.findall(r">([\d.]+)</text>", section(page, "Accuracy and latency"))
    assert "100" in ticks and not any(float(tick) > 100 for tick in ticks)


def test_names_are_escaped(tmp_path):
    results, marks = bakeoff(), []

    def evil(place):
        marks.append(f"<script>alert('{place}')</script>\u202e")
        return marks[-1]

    concepts, xor = results["tasks"]["concepts"], results["tasks"]["xor"]
    results.update(recipe=evil("recipe"), versions={evil("package"): evil("version")})
    results["data"].update(name=evil("data"), sha256=evil("checksum"))
    results["verdict"].update(text=evil("verdict"))
    concepts.update(title=evil("title"), about=evil("about"))
    concepts["entries"][3].update(
        kind=evil("kind"), note=evil("note"), subsets={evil("subset"): 0.5}
    )
    xor.update(title=evil("task's title"), about=evil("task's about"))
    xor["entries"][0].update(kind=evil("task's kind"))
    results["tasks"][evil("task")] = xor
    results["imbalance"].update(about=evil("imbalance"))
    results["imbalance"]["rows"][0].update(name=evil("row"), modalities={evil("modality"): 0.5})
    page = render(tmp_path, results)
    Tags(page)
    assert "<script" not in page and "\u202e" not in page
    seen = unescape(page.replace("<wbr>", ""))
    assert all(mark.replace("\u202e", "\ufffd") in seen for mark in marks) and len(marks) == 18


def test_a_name_is_no_formula_and_a_long_one_is_cut(tmp_path):
    results = bakeoff()
    for task in results["tasks"].values():
        for entry, kind in zip(task["entries"], ("$\\frac$", "w" * 80), strict=False):
            entry["kind"] = kind
    page = render(tmp_path, results)
    for title in ("Accuracy and latency", "Synthetic tasks"):
        figure = section(page, title).split('<div class="narrow">')[0]
        shown = re.findall(r"<text[^>]*>(.*?)</text>", figure)
        assert "$\\frac$" in shown and "w" * 27 + "…" in shown


def test_refused_results_leave_the_old_page(tmp_path):
    path = tmp_path / "bakeoff.html"
    path.write_text("old")
    results = bakeoff()
    del results["seeds"]
    with pytest.raises(ValueError, match="`results` must have the key 'seeds'"):
        write_bakeoff_report(path, results)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_page_is_replaced_whole_and_the_same_twice(tmp_path, monkeypatch):
    path = tmp_path / "bakeoff.html"
    first = render(tmp_path, bakeoff())
    assert render(tmp_path, bakeoff()) == first and list(tmp_path.iterdir()) == [path]

    def full_disk(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bakeoff_report(path, bakeoff())
    assert path.read_text("utf-8") == first and list(tmp_path.iterdir()) == [path]
