//! Labelled files that are absent or broken: file, line and mend in one line, and nothing is written.

use crate::common::world::pairs;
use crate::common::{World, assert_says, triplets};

/// The good triplets with another third line.
fn with_third_line(line: &str) -> String {
    let good = triplets();
    let mut lines: Vec<&str> = good.lines().collect();
    lines[2] = line;
    lines.join("\n") + "\n"
}

#[test]
fn a_row_with_too_few_columns() {
    let line = World::triplets(&with_third_line("我,你")).error(&[]);
    assert_says(&line, "own/triplets.csv:3: field `hard_neg` is missing", &["fix: "]);
}

#[test]
fn a_quotation_mark_that_is_not_closed() {
    let line = World::triplets(&with_third_line("\"我,你,他")).error(&[]);
    assert_says(&line, "own/triplets.csv:3: a quoted field goes over several lines", &["fix: close"]);
}

#[test]
fn a_header_with_other_names() {
    let line = World::triplets(&triplets().replace("sent0,sent1,hard_neg", "a,b,c")).error(&[]);
    assert_says(&line, "own/triplets.csv:", &["no known field among `a, b, c`", "fix: "]);
}

#[test]
fn a_file_without_rows() {
    let line = World::triplets("sent0,sent1,hard_neg\n").error(&[]);
    assert_says(&line, "own/triplets.csv: no rows", &["fix: "]);
}

#[test]
fn pairs_where_triplets_are_wanted_and_the_other_way_round() {
    let world = World::triplets(&triplets());
    world.write("own/pairs.tsv", &pairs(1000, 30));
    world.set("triplets", "[\"own/pairs.tsv\"]");
    assert_says(&world.error(&[]), "", &["own/pairs.tsv", "holds scored pairs, not triplets", "fix: "]);
    let world = World::pairs(&pairs(1000, 30));
    world.write("own/triplets.csv", triplets().as_bytes());
    world.set("pairs", "[\"own/triplets.csv\"]");
    assert_says(&world.error(&[]), "", &["own/triplets.csv", "triplets", "scored pairs", "fix: "]);
}

#[test]
fn a_score_that_is_no_number() {
    let text = String::from_utf8(pairs(1000, 30)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[4] = "我\t你\tgood";
    let line = World::pairs(lines.join("\n").as_bytes()).error(&[]);
    assert_says(&line, "own/pairs.tsv:5: ", &["good", "fix: "]);
}

#[test]
fn scores_that_are_all_the_same() {
    let text = String::from_utf8(pairs(1000, 30)).unwrap().replace("\t0\n", "\t1\n");
    let world = World::pairs(text.as_bytes());
    assert_says(&world.error(&[]), "data.pairs: all of 30 pairs have the same score", &["fix: name sources"]);
}

/// The sample has no labels: it can take the place of sentences alone.
#[test]
fn a_source_that_is_nowhere() {
    let world = World::triplets(&triplets());
    world.set("triplets", "[\"own/none.csv\"]");
    let parts = ["the bundled sample has no labelled examples", "own/none.csv", "fix: "];
    assert_says(&world.error(&[]), "nothing to train on", &parts);
    world.set("triplets", "[\"zh_triplets/train\"]");
    assert_says(&world.error(&[]), "nothing to train on", &["zh_triplets/train", "fix: "]);
}

#[test]
fn every_triplet_stands_in_the_test_set() {
    let text: String = String::from_utf8(pairs(500, 30)).unwrap();
    let rows: String =
        text.lines().map(|line| format!("{},我你,他们\n", line.split('\t').next().unwrap())).collect();
    let line = World::triplets(&format!("sent0,sent1,hard_neg\n{rows}")).error(&[]);
    assert_says(&line, "", &["no training sentence is left", "fix: "]);
}
