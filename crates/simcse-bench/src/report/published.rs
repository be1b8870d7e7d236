//! `results/published.csv`: what others published, one line for each figure, with its source.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// The figures of one publication that belong together: a row of a table, or a column beside its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Name, by which tables refer to it.
    pub name: String,
    /// For people.
    pub label: String,
    /// Where they stand.
    pub sources: Vec<String>,
    /// Fractions: by the full name of a metric in a row, by configuration in a column.
    pub figures: BTreeMap<String, f64>,
}

impl Published {
    /// Where the figures stand, in one line.
    pub fn source(&self) -> String {
        self.sources.join("; ")
    }
}

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    label: String,
    figure: String,
    value: f64,
    source: String,
}

/// Reads the file; one that is not there holds nothing.
///
/// # Errors
/// When it cannot be read, a line is malformed, has a value that is no fraction, no source, or repeats a figure, or one
/// name has two labels; the message names file and line.
pub(super) fn read(path: &Path) -> Result<Vec<Published>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let shown = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("{shown}: cannot be read"))?;
    let mut all: Vec<Published> = Vec::new();
    // The first line is the header.
    for (line, number) in reader.deserialize().zip(2..) {
        let line: Line = match line {
            Ok(line) => line,
            Err(error) => {
                bail!("{shown}:{number}: {error}; fix: give the columns name,label,figure,value,source")
            }
        };
        add(&mut all, line).with_context(|| format!("{shown}:{number}"))?;
    }
    Ok(all)
}

fn add(all: &mut Vec<Published>, line: Line) -> Result<()> {
    let Line { name, label, figure, value, source } = line;
    // Recorded values are fractions, published ones are printed × 100: the slip is near.
    ensure!((-1.0..=1.0).contains(&value), "{figure} = {value} is no fraction; fix: divide it by 100");
    ensure!(!source.is_empty(), "{figure} has no source; fix: say where it stands");
    let place = all.iter().position(|published| published.name == name).unwrap_or(all.len());
    if place == all.len() {
        let figures = BTreeMap::new();
        all.push(Published { name, label: label.clone(), sources: Vec::new(), figures });
    }
    let published = &mut all[place];
    ensure!(
        published.label == label,
        "{:?} is {label:?} here and {:?} above; fix: give both one label",
        published.name,
        published.label
    );
    if !published.sources.contains(&source) {
        published.sources.push(source);
    }
    ensure!(
        published.figures.insert(figure.clone(), value).is_none(),
        "{figure} stands there twice; fix: take one out"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "name,label,figure,value,source\n";

    fn read_text(lines: &str) -> Result<Vec<Published>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("published.csv");
        std::fs::write(&path, format!("{HEADER}{lines}")).unwrap();
        read(&path)
    }

    #[test]
    fn figures_are_gathered_by_name_with_their_sources() {
        let all = read_text("a,A,x,0.5,\"one, table 1\"\nb,B,x,0.25,two\na,A,y,0.75,three\na,A,z,0,three\n")
            .unwrap();
        let names: Vec<&str> = all.iter().map(|published| published.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(all[0].source(), "one, table 1; three");
        assert_eq!(
            all[0].figures,
            [("x".to_owned(), 0.5), ("y".to_owned(), 0.75), ("z".to_owned(), 0.0)].into()
        );
        assert!(read(Path::new("none/published.csv")).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |lines: &str, message: &str| {
            let error = format!("{:#}", read_text(lines).unwrap_err());
            assert!(error.contains(message), "{error:?} lacks {message:?}");
        };
        wrong("a,A,x,0.5,s\na,A,y,50.1,s\n", "published.csv:3: y = 50.1 is no fraction; fix: ");
        wrong("a,A,x,0.5,s\na,A,x,0.5,s\n", "published.csv:3: x stands there twice; fix: ");
        wrong("a,A,x,0.5,s\na,B,y,0.5,s\n", "published.csv:3: \"a\" is \"B\" here and \"A\" above; fix: ");
        wrong("a,A,x,0.5,\n", "published.csv:2: x has no source; fix: ");
        wrong("a,A,x,0.5\n", "published.csv:2: ");
        wrong("a,A,x,half,s\n", "published.csv:2: ");
    }
}
