//! `results/index.html` in a real browser: it loads without an error, and sorting, filters and the view of a run work.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expects by failing, one left out says so"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use simcse_bench::report::generate;

/// Names of Chromium, in the order of preference.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Collects what goes wrong, before anything of the page runs.
const BEFORE: &str = r#"<script>
window.problems = [];
window.addEventListener("error", (event) => window.problems.push(event.message));
console.error = (...words) => window.problems.push(words.join(" "));
</script>"#;

/// What a reader does, and what has to come of it.
const AFTER: &str = r##"<script>
const expect = (holds, what) => { if (!holds) window.problems.push("expected: " + what); };
const rows = () => [...document.querySelectorAll("#runs tbody tr")];
const texts = (column) => rows().map((row) => row.children[column].textContent);
const numbers = (column) => texts(column).filter((text) => text !== "—").map(Number);
const head = (name) => document.querySelector(`#runs thead button[data-column="${name}"]`);
const place = (name) => [...document.querySelectorAll("#runs thead button")].findIndex((b) => b.dataset.column === name);
const change = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById("filters").dispatchEvent(new Event("input"));
};
const isSorted = (values, sign) => values.every((value, i) => i === 0 || sign * (value - values[i - 1]) >= 0);
try {
  const all = rows().length;
  expect(all > 50, "many rows, there are " + all);
  expect(isSorted(numbers(place("average")), -1), "the best average first");
  head("lcqmc").click();
  expect(isSorted(numbers(place("lcqmc")), -1), "sorted by LCQMC, highest first");
  expect(head("lcqmc").parentElement.getAttribute("aria-sort") === "descending", "the heading says so");
  head("lcqmc").click();
  expect(isSorted(numbers(place("lcqmc")), 1), "sorted by LCQMC, lowest first");
  head("label").click();
  expect(texts(0).every((t, i, all) => i === 0 || all[i - 1].localeCompare(t) <= 0), "sorted by label");
  change("experiment", "textcnn");
  expect(rows().length > 5 && rows().length < all, "fewer rows of one experiment");
  expect(texts(1).every((text) => text === "textcnn"), "one experiment");
  change("find", "temperature");
  expect(rows().length > 0 && texts(0).every((text) => /temperature/i.test(text)), "words of a label");
  change("find", "");
  change("experiment", "");
  change("encoder", "TextCNN");
  expect(texts(2).every((text) => text === "TextCNN"), "one encoder");
  change("encoder", "");
  document.querySelector("#tasks input[value=lcqmc]").click();
  document.getElementById("filters").dispatchEvent(new Event("input"));
  expect(head("lcqmc") === null, "a task can be hidden");
  document.querySelector("#tasks input[value=stsb]").click();
  document.getElementById("filters").dispatchEvent(new Event("input"));
  expect(numbers(place("stsb")).length > 0, "a task can be shown");
  change("metric", "uniformity");
  expect(numbers(place("stsb")).every((value) => value <= 0), "uniformity is below 0");
  change("metric", "spearman");
  change("split", "dev");
  document.querySelector("#runs tbody td button").click();
  const links = [...document.querySelectorAll("#run-body a")].map((a) => a.getAttribute("href"));
  expect(document.getElementById("run").open, "a cell opens its runs");
  expect(links.some((link) => /^runs\/.+\/config\.toml$/.test(link)), "a link to the configuration: " + links);
  expect(links.some((link) => link.endsWith("/env.json")), "a link to the environment");
  expect(document.querySelectorAll("#figures svg").length > 0, "figures");
  expect(document.documentElement.scrollWidth <= window.innerWidth, "the page is not wider than the window");
} catch (problem) { window.problems.push(String(problem)); }
document.title = window.problems.length === 0 ? "all is well" : window.problems.join(" | ");
</script>"##;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn browser() -> Option<PathBuf> {
    let given = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default();
    let named = folders.iter().flat_map(|folder| BROWSERS.iter().map(|name| folder.join(name)));
    given.into_iter().chain(named).find(|path| path.is_file())
}

#[test]
fn the_page_loads_sorts_filters_and_opens_runs() {
    let Some(browser) = browser() else {
        let may_lack =
            std::env::var_os("CI").is_none() || std::env::var_os("SIMCSE_WITHOUT_BROWSER").is_some();
        assert!(may_lack, "no Chromium; fix: install it, or set CHROMIUM or SIMCSE_WITHOUT_BROWSER");
        eprintln!("left out: needs Chromium, or CHROMIUM with its path");
        return;
    };
    let report = generate(&root()).unwrap();
    let page = &report.files[Path::new("results/index.html")];
    let page = page.replacen("<head>", &format!("<head>{BEFORE}"), 1).replacen(
        "</body>",
        &format!("{AFTER}</body>"),
        1,
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.html");
    std::fs::write(&path, page).unwrap();
    for size in ["1280,900", "390,800"] {
        let output = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
            // A page that does not come to rest must not hold up the tests.
            .args(["--timeout=60000"])
            .arg(format!("--window-size={size}"))
            .arg(format!("--user-data-dir={}", folder.path().join(size).display()))
            .arg(format!("file://{}", path.display()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let title = text.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        assert_eq!(title, Some("all is well"), "{size}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
