//! A table as Markdown, CSV, LaTeX and plain text.

use anyhow::Context as _;

use super::table::{Cell, Row, RowKind, Table};
use super::{ColumnDefinition, View};

/// What stands for a value that is not there.
const MISSING: &str = "—";

/// Markdown: heading, table, notes.
pub(super) fn markdown(table: &Table) -> String {
    let mut text = format!("**{}** ({})\n\n", escape_markdown(&table.title), table.view.title());
    let headings: Vec<String> = table.columns.iter().map(|column| escape_markdown(&column.label)).collect();
    text.push_str(&format!(
        "| | n | {} |\n|---|--:|{}\n",
        headings.join(" | "),
        "--:|".repeat(headings.len())
    ));
    for row in &table.rows {
        let cells: Vec<String> =
            shown_cells(table, row, |text, best| if best { format!("**{text}**") } else { text.to_owned() });
        let label =
            format!("{}{}", escape_markdown(&row.label), if is_transductive(row) { " †" } else { "" });
        text.push_str(&format!("| {label} | {} | {} |\n", shown_count(row), cells.join(" | ")));
    }
    text.push('\n');
    text.push_str(&notes(table).join("\n"));
    text.push('\n');
    text
}

/// CSV with full precision, as fractions: for each column the mean and `_sd`.
pub(super) fn csv(table: &Table) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut headings: Vec<String> =
        ["row", "kind", "experiment", "config", "group", "n", "failed", "stopped", "transductive"]
            .map(str::to_owned)
            .into();
    for column in &table.columns {
        let name = column.metric_name(table.view);
        headings.push(name.clone());
        headings.push(format!("{name}_sd"));
    }
    writer.write_record(&headings)?;
    for row in &table.rows {
        let mut fields = vec![row.label.clone()];
        fields.extend(described(&row.kind));
        for cell in &row.cells {
            fields.push(cell.map_or_else(String::new, |cell| cell.mean.to_string()));
            fields.push(cell.and_then(|cell| cell.sd).map_or_else(String::new, |sd| sd.to_string()));
        }
        writer.write_record(&fields)?;
    }
    let bytes = writer.into_inner().context("csv writer")?;
    Ok(String::from_utf8(bytes)?)
}

/// Kind, experiment, configuration, group, counts and mark of a row.
fn described(kind: &RowKind) -> [String; 8] {
    let mut fields: [String; 8] = Default::default();
    match kind {
        RowKind::Ceiling => fields[0] = "ceiling".to_owned(),
        RowKind::Published { .. } => fields[0] = "published".to_owned(),
        RowKind::Runs { experiment, config, group, count, failed, stopped, transductive, .. } => {
            fields = [
                "runs".to_owned(),
                experiment.clone(),
                config.clone(),
                group.clone(),
                count.to_string(),
                failed.to_string(),
                stopped.to_string(),
                transductive.to_string(),
            ];
        }
    }
    fields
}

/// LaTeX: a `tabular` with the rules of `booktabs`.
pub(super) fn latex(table: &Table) -> String {
    let headings: Vec<String> = table.columns.iter().map(|column| escape_latex(&column.label)).collect();
    let mut text = format!("\\begin{{tabular}}{{lr{}}}\n\\toprule\n", "r".repeat(headings.len()));
    text.push_str(&format!(" & n & {} \\\\\n\\midrule\n", headings.join(" & ")));
    for row in &table.rows {
        let cells: Vec<String> = shown_cells(table, row, |text, best| {
            let text = text.replace('±', "$\\pm$").replace(MISSING, "---");
            if best { format!("\\textbf{{{text}}}") } else { text }
        });
        let mark = if is_transductive(row) { "$^\\dagger$" } else { "" };
        let count = shown_count(row);
        text.push_str(&format!(
            "{}{mark} & {count} & {} \\\\\n",
            escape_latex(&row.label),
            cells.join(" & ")
        ));
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    for note in notes(table) {
        text.push_str(&format!("% {note}\n"));
    }
    text
}

/// Plain text for a terminal; empty if the table has no value at all.
pub(super) fn terminal(table: &Table) -> String {
    if table.rows.iter().all(|row| row.cells.iter().all(Option::is_none)) && table.view != View::Test {
        return String::new();
    }
    let mut lines = vec![vec![table.view.title().to_owned(), "n".to_owned()]];
    lines[0].extend(table.columns.iter().map(|column| column.label.clone()));
    for row in &table.rows {
        let sample = matches!(row.kind, RowKind::Runs { sample: true, .. });
        let mark = if is_transductive(row) { " †" } else { "" };
        let mark = format!("{}{mark}", if sample { " (bundled sample)" } else { "" });
        let mut line = vec![format!("{}{mark}", row.label), shown_count(row)];
        line.extend(shown_cells(table, row, |text, _| text.to_owned()));
        lines.push(line);
    }
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = format!("{}\n", table.title);
    for line in &lines {
        let pad = |(index, field): (usize, &String)| {
            let blanks = " ".repeat(widths[index] - field.chars().count());
            if index == 0 { format!("{field}{blanks}") } else { format!("{blanks}{field}") }
        };
        let fields: Vec<String> = line.iter().enumerate().map(pad).collect();
        text.push_str(fields.join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

fn shown_cells(table: &Table, row: &Row, dress: impl Fn(&str, bool) -> String) -> Vec<String> {
    let shown = |(column, cell): (&ColumnDefinition, &Option<Cell>)| match cell {
        Some(cell) => dress(&shown_cell(column, cell), cell.best),
        None => dress(MISSING, false),
    };
    table.columns.iter().zip(&row.cells).map(shown).collect()
}

fn shown_cell(column: &ColumnDefinition, cell: &Cell) -> String {
    let shown = |value: f64| format!("{:.*}", column.decimals, value * column.scale);
    match cell.sd {
        Some(sd) => format!("{} ± {}", shown(cell.mean), shown(sd)),
        None => shown(cell.mean),
    }
}

/// `5`, or `3 (1 failed, 1 stopped)`; nothing for rows without runs.
fn shown_count(row: &Row) -> String {
    let RowKind::Runs { count, failed, stopped, .. } = row.kind else {
        return String::new();
    };
    let others = [(failed, "failed"), (stopped, "stopped")];
    let others: Vec<String> = others
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if others.is_empty() { count.to_string() } else { format!("{count} ({})", others.join(", ")) }
}

fn is_transductive(row: &Row) -> bool {
    matches!(row.kind, RowKind::Runs { transductive: true, .. })
}

/// What must be known to read the table, one sentence each.
fn notes(table: &Table) -> Vec<String> {
    let mut notes = vec!["n: seeds; cells: mean ± standard deviation over seeds.".to_owned()];
    if table.columns.iter().any(|column| column.scale == 100.0) {
        notes[0] = "n: seeds; cells: mean ± standard deviation over seeds, × 100.".to_owned();
    }
    if table.rows.iter().any(|row| row.kind == RowKind::Ceiling) {
        notes.push(
            "Ceiling: the highest Spearman that scores without ties can reach on these labels.".to_owned(),
        );
    }
    for row in &table.rows {
        if let RowKind::Published { source } = &row.kind {
            notes.push(format!("{}: {source}.", row.label));
        }
    }
    if table.rows.iter().any(is_transductive) {
        notes.push("† Training saw unlabelled text of an evaluation set.".to_owned());
    }
    notes.extend(table.notes.iter().cloned());
    notes
}

pub(super) fn escape_markdown(text: &str) -> String {
    text.replace('|', "\\|")
}

fn escape_latex(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '×' => escaped.push_str("$\\times$"),
            _ => escaped.push(character),
        }
    }
    escaped
}
