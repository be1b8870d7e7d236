//! `results/index.html`: all recorded runs as one page that needs no network.
//!
//! The page is a template with three parts put in: its style, its script, and the data as JSON. Everything that a reader can
//! do (sort, filter, open a run) is done by the script on that data.

mod data;

use anyhow::Result;

use self::data::PageData;
use super::LoadedRun;
use super::definition::Definitions;
use super::published::Published;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A figure of the page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// For people.
    pub(super) caption: String,
    /// A whole `<svg>` element.
    pub(super) svg: String,
}

/// The page.
///
/// Fails when the configuration of a run or its log cannot be read.
pub(super) fn html(runs: &[LoadedRun], definitions: &Definitions, figures: &[Figure]) -> Result<String> {
    // What stands beside rows of a table belongs to them alone.
    let is_row = |published: &&Published| {
        definitions.table.iter().any(|table| table.published.contains(&published.name))
    };
    let published: Vec<&Published> = definitions.published.iter().filter(is_row).collect();
    let data = serde_json::to_string(&PageData::new(runs, &published)?)?;
    let figures: String = figures.iter().map(figure).collect();
    // `</` ends a script wherever it stands in it.
    let parts = [
        ("/*STYLE*/", STYLE.to_owned()),
        ("/*SCRIPT*/", SCRIPT.to_owned()),
        ("\"DATA\"", data.replace("</", "<\\/")),
        ("<!--FIGURES-->", figures),
    ];
    Ok(parts.iter().fold(TEMPLATE.to_owned(), |page, (mark, part)| page.replacen(mark, part, 1)))
}

fn figure(figure: &Figure) -> String {
    format!("<figure>{}<figcaption>{}</figcaption></figure>\n", figure.svg, escape(&figure.caption))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn every_part_is_put_in_and_no_text_ends_the_script() {
        let root = tempfile::tempdir().unwrap();
        let mut run = fixtures::run("headline", 1, 0.5);
        run.summary.label = "a </script> & <b>".to_owned();
        run.directory = root.path().join("runs/textcnn/headline-s1");
        fixtures::write(root.path(), &run);
        let definitions: Definitions = toml::from_str(fixtures::TABLES).unwrap();
        let figures = [Figure { caption: "a < b".to_owned(), svg: "<svg id=\"x\"></svg>".to_owned() }];
        let page = html(&[run], &definitions, &figures).unwrap();
        for mark in ["/*STYLE*/", "/*SCRIPT*/", "\"DATA\"", "<!--FIGURES-->"] {
            assert!(!page.contains(mark), "{mark} is left");
        }
        assert!(page.contains("<svg id=\"x\"></svg><figcaption>a &lt; b</figcaption>"));
        assert_eq!(page.matches("</script>").count(), page.matches("<script").count());
        // The name of SVG's elements is no address that anything is read from.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains("http://") && !page.contains("https://"), "the page needs no network");
    }
}
